"""Hostile inputs lead to errors of ours, never to others, to an invented label, or to a long wait."""

from __future__ import annotations

import warnings

import pytest
from hostile import attack


@pytest.mark.parametrize("seed", [0, 1])
def test_hostile_inputs_lead_to_errors_of_ours(tmp_path, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert attack(tmp_path, 400, seed=seed) == []
