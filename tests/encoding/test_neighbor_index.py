"""The index of neighbours beside an exact one: what it finds, what it says of it, and whether it does so again."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from safetensors.numpy import load, save

from dsplus_chains.encoding import neighbor_index as module
from dsplus_chains.encoding.neighbor_index import cells_of, neighbor_index
from dsplus_chains.schema import BundleError, InvalidInputError
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.members.neighbors import NeighborMember
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

K = 20


def clustered(n, *, seed, clusters=60, width=48):
    """Vectors around centres that are the same for each seed. Their lengths differ."""
    centres = np.random.default_rng(0).normal(size=(clusters, width))
    draw = np.random.default_rng(seed)
    vectors = centres[draw.integers(clusters, size=n)] + 0.9 * draw.normal(size=(n, width))
    return (vectors * draw.uniform(0.5, 2, size=(n, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    return clustered(6000, seed=1)


@pytest.fixture(scope="module")
def queries():
    return clustered(400, seed=2)


@pytest.fixture
def few(monkeypatch):
    """More than 500 vectors are many."""
    monkeypatch.setattr(module, "MOST_EXACT", 500)


def cosines(queries, vectors):
    """An oracle: all similarities in double precision."""
    one, other = (each.astype(np.float64) for each in (queries, vectors))
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other))
    return one @ other.T


@pytest.mark.parametrize("k", [1, 6, K, 50])
def test_of_many_vectors_nearly_all_neighbours_are_found_with_their_true_similarity(k, vectors, queries, few):
    similarities, rows = neighbor_index(vectors)(queries, k)
    assert similarities.dtype == np.float32
    assert rows.dtype == np.int64
    assert similarities.shape == rows.shape == (400, k)
    true = cosines(queries, vectors)
    assert similarities == pytest.approx(np.take_along_axis(true, rows, axis=1), abs=1e-6)
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert all(len(set(each)) == k for each in rows.tolist())
    nearest = np.argsort(-true, axis=1)[:, :k]
    recall = np.mean([len(set(a) & set(b)) / k for a, b in zip(rows.tolist(), nearest.tolist(), strict=True)])
    assert recall >= 0.97


def test_a_few_cells_are_looked_at_and_more_where_more_is_asked_for(vectors, monkeypatch):
    monkeypatch.setattr(module, "MOST_EXACT", 500)
    near = cells_of(vectors)
    monkeypatch.setattr(module, "RECALL", 0.9999)
    nearer = cells_of(vectors)
    assert 1 <= near.near < nearer.near <= len(nearer.centres)
    assert near.near < len(near.centres) // 2


def test_cells_are_the_same_when_they_are_given(vectors, queries, few):
    cells = cells_of(vectors)
    nearest = np.argmax(vectors @ cells.centres.T, axis=1)  # an oracle for the cell of each
    assert (cells.members == nearest).mean() > 0.999
    search, again = neighbor_index(vectors), neighbor_index(vectors, cells)
    for k in (1, K):
        for one, other in zip(search(queries, k), again(queries, k), strict=True):
            assert np.array_equal(one, other)


def test_up_to_the_limit_the_search_is_exact(vectors, queries, monkeypatch):
    monkeypatch.setattr(module, "MOST_EXACT", len(vectors))
    rows = neighbor_index(vectors)(queries, K)[1]
    assert np.array_equal(rows, np.argsort(-cosines(queries, vectors), axis=1)[:, :K])
    monkeypatch.setattr(module, "MOST_EXACT", len(vectors) - 1)
    assert not np.array_equal(neighbor_index(vectors)(queries, K)[1], rows)


def test_the_same_vectors_make_the_same_index_and_a_query_stands_alone(vectors, queries, few):
    search, again = neighbor_index(vectors), neighbor_index(vectors.copy())
    np.random.default_rng().normal()
    for one, other in zip(search(queries, K), again(queries, K), strict=True):
        assert np.array_equal(one, other)
    alone = [search(query[None], K) for query in queries[:20]]
    assert np.array_equal(np.concatenate([rows for _, rows in alone]), search(queries, K)[1][:20])


def test_vectors_that_are_no_numbers_are_refused(vectors, few):
    strange = vectors.copy()
    strange[7, 3], strange[4000, 0] = np.nan, np.inf
    with pytest.raises(InvalidInputError, match="Got 2 of 6000 vectors with a number that is not finite"):
        neighbor_index(strange)


def test_of_equal_vectors_the_first_row_comes_first(few):
    vectors = np.repeat(clustered(250, seed=3), 4, axis=0)
    similarities, rows = neighbor_index(vectors)(vectors[::4], 4)
    assert rows.tolist() == np.arange(1000).reshape(250, 4).tolist()
    assert similarities == pytest.approx(np.ones((250, 4)), abs=1e-6)


@pytest.mark.parametrize("kind", ["all equal", "all zero", "one far cell"])
def test_where_the_cells_hold_too_few_all_vectors_are_looked_at(kind, few):
    vectors = np.zeros((600, 8), dtype=np.float32)
    if kind != "all zero":
        vectors[:, 0] = 1
    if kind == "one far cell":
        vectors[:3, 0], vectors[:3, 1] = 0, 1
    similarities, rows = neighbor_index(vectors)(vectors[:2], 600)
    assert np.array_equal(np.sort(rows, axis=1), np.tile(np.arange(600), (2, 1)))
    assert similarities == pytest.approx(np.take_along_axis(vectors[:2] @ vectors.T, rows, axis=1))
    assert neighbor_index(vectors)(vectors[:2], 1000)[1].shape == (2, 600)
    assert neighbor_index(vectors)(vectors[:0], 5)[1].shape == (0, 5)


def test_nothing_is_printed(vectors, few, capfd):
    neighbor_index(vectors[:501])(vectors[:3], 2)
    assert capfd.readouterr() == ("", "")


def member_of(vectors):
    return NeighborMember.fit(vectors, np.arange(len(vectors)) % 3, 3)


def batch_of(queries):
    batch = TextBatch([""] * len(queries), encoder=None)
    batch.vectors = queries
    return batch


def test_votes_and_distances_are_those_of_the_exact_search_but_for_few(vectors, queries, monkeypatch):
    exact, batch = member_of(vectors), batch_of(queries)
    proba, distances, own = np.exp(exact.log_proba(batch)), exact.distances(batch), exact.own_distances()
    monkeypatch.setattr(module, "MOST_EXACT", 500)
    near = member_of(vectors)
    assert np.abs(np.exp(near.log_proba(batch_of(queries))) - proba).mean() < 0.01
    found = near.distances(batch_of(queries))
    assert (found >= distances - 1e-6).all()  # a neighbour that is missed is replaced by a farther one
    assert (found < distances + 1e-6).mean() > 0.9
    for share in (0.5, 0.9, 0.99):
        assert np.quantile(near.own_distances(), share) == pytest.approx(np.quantile(own, share), abs=0.005)


def test_a_member_that_is_stored_finds_the_same(vectors, queries, few):
    member = member_of(vectors)
    told = member.log_proba(batch_of(queries))
    settings, arrays = member.state()
    again = NeighborMember.from_state(settings, stored(arrays))
    for one in (again, pickle.loads(pickle.dumps(member))):
        assert np.array_equal(one.log_proba(batch_of(queries)), told)


def stored(arrays):
    """The arrays as a file gives them back."""
    return StoredArrays(arrays=load(save(arrays)), width=48, n_classes=3)


def test_cells_are_stored_and_a_loaded_member_does_not_look_for_them(vectors, queries, few, monkeypatch):
    member = member_of(vectors)
    settings, arrays = member.state()
    told = member.log_proba(batch_of(queries))
    monkeypatch.setattr(module, "_found_cells", None)
    again = NeighborMember.from_state(settings, stored(arrays))
    assert np.array_equal(again.log_proba(batch_of(queries)), told)
    twice = again.state()[1]
    assert {name: table.tolist() for name, table in twice.items()} == {
        name: table.tolist() for name, table in arrays.items()
    }


def test_a_member_without_stored_cells_finds_them_and_few_examples_need_none(vectors, queries, monkeypatch):
    settings, arrays = member_of(vectors).state()
    assert set(arrays) == {"vectors", "targets"}
    monkeypatch.setattr(module, "MOST_EXACT", 500)
    again = NeighborMember.from_state(settings, stored(arrays))
    told = member_of(vectors).log_proba(batch_of(queries))
    assert np.array_equal(again.log_proba(batch_of(queries)), told)


@pytest.mark.parametrize(
    ("name", "damaged", "told"),
    [
        ("members", lambda table: table + len(table), "numbers from"),
        ("members", lambda table: table - 1, "numbers from"),
        ("members", lambda table: table[:-1], "of shape"),
        ("members", lambda table: table.astype(np.int32), "of type int32"),
        ("centres", lambda table: table[:, 1:], "of shape"),
        ("centres", lambda table: table[:0], "of shape"),
        ("centres", lambda table: table * np.inf, "not finite"),
        ("ranges", lambda table: table[1:], "of shape"),
        ("ranges", lambda table: None, "nowhere"),
        ("near", lambda table: table * 10**6, "numbers from"),
        ("near", lambda table: np.zeros(2, dtype=np.int64), "of shape"),
    ],
)
def test_damaged_cells_are_refused(vectors, few, name, damaged, told):
    settings, arrays = member_of(vectors).state()
    table = damaged(arrays.pop(f"cells.{name}"))
    if table is not None:
        arrays[f"cells.{name}"] = table
    with pytest.raises(BundleError, match=rf"'cells\.{name}' .*{told}.*damaged"):
        NeighborMember.from_state(settings, stored(arrays))
