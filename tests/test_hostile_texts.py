"""No text from outside takes longer than its length deserves, whatever reads it."""

from __future__ import annotations

import pytest
from clock import at_most
from hostile import SLOW

from dsplus_chains.documents.passages import cut
from dsplus_chains.documents.ranking import word_overlap
from dsplus_chains.planning.shape import LONGEST_REQUEST, placed, places_in
from dsplus_chains.schema import fence
from dsplus_chains.tables.reading import read_table


def all_in(text, parts):
    return all(text.startswith(part.text, part.start) for part in parts)


READERS = {
    "a fence": (fence, lambda text, fenced: text in fenced),
    "the shape of a request": (placed, lambda text, found: found == (text, {})),  # too long to have places
    "the places of a template": (places_in, lambda text, places: places == []),
    "words in common": (lambda text: word_overlap("what broke", text), lambda text, overlap: overlap == 0),
    "sentences": (lambda text: cut(text, "sentences", max_parts=10_000_000), all_in),
    "paragraphs": (lambda text: cut(text, "paragraphs", max_parts=10_000_000), all_in),
}
"""What reads a text, and what is true of what it finds."""
PIECES = [" ", "<", "< ", "</", "<input-", "'", "'a ", "a'", '"', '"a', "“", "«", "1.", "1,a", "[number ", "."]


@pytest.mark.parametrize("piece", [*PIECES, ".'", "{ ", "\n", "\n ", "é", "-_"])
@pytest.mark.parametrize("reader", READERS)
def test_a_text_of_one_piece_again_and_again(reader, piece):
    text = piece * (1_000_000 // len(piece))
    read, holds = READERS[reader]
    for hostile in (text, f"x{text}", f"{text}x"):
        with at_most(SLOW):
            found = read(hostile)
        assert holds(hostile, found)


def test_a_table_of_very_many_columns(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(50_000)) + "\n" + "x," * 49_999 + "x\n", encoding="utf-8")
    with at_most(SLOW):
        table = read_table(path)
    assert len(table.columns) == 50_000


def test_a_request_as_long_as_a_document_has_no_places():
    request = "Name 2 complaints. "
    assert placed(request)[1] == {"[number 1]": "2"}
    longer = request * (LONGEST_REQUEST // len(request) + 1)
    assert placed(longer) == (longer, {})
