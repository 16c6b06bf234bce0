"""The member that looks for neighbours measures the examples against one another in bounded memory."""

import numpy as np
import pytest

from dsplus_chains.scoring.members import neighbors
from dsplus_chains.scoring.members.neighbors import NeighborMember


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_distances_are_the_same_in_chunks_and_alike_for_a_draw(monkeypatch, chunk):
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    member = NeighborMember(vectors=vectors, targets=np.zeros(60, dtype=np.int64), n_classes=2)
    whole = member.own_distances()
    monkeypatch.setattr(neighbors, "CHUNK", chunk)
    assert np.array_equal(member.own_distances(), whole)
    monkeypatch.setattr(neighbors, "MEASURED", 20)
    drawn = member.own_distances()
    assert len(drawn) == 20
    assert np.isin(drawn.round(5), whole.round(5)).all()
