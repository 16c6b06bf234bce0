"""Reductions without a model. They turn the kept parts of a long input into one text."""

from __future__ import annotations

from collections.abc import Sequence

from dsplus_chains.documents.keep import PartResult


def numbered(parts: Sequence[PartResult]) -> str:
    """The parts as they stand in the input, each after its number. So an answer can name its sources.

    Example:
        >>> from dsplus_chains.schema import Passage, SubtaskResult
        >>> found = PartResult(passage=Passage(text="It broke.", start=90, number=3), result=SubtaskResult(value=True))
        >>> numbered([found])
        '[3] It broke.'
    """
    return "\n".join(str(part.passage) for part in parts)


def numbered_values(parts: Sequence[PartResult]) -> str:
    """The value found in each part, after the part's number. Parts without a value are left out.

    Example:
        >>> from dsplus_chains.schema import Passage, SubtaskResult
        >>> passage = Passage(text="Call 555-0199.", start=90, number=3)
        >>> numbered_values([PartResult(passage=passage, result=SubtaskResult(value="555-0199"))])
        '[3] 555-0199'
    """
    found = [(part.passage.number, part.result.value) for part in parts]
    return "\n".join(f"[{number}] {value}" for number, value in found if value is not None)


def verbatim(parts: Sequence[PartResult]) -> str:
    """The texts of the parts and nothing else. With `Keep(top_k=1)` this is one quote, as it stands in the input.

    Example:
        >>> from dsplus_chains.schema import Passage, SubtaskResult
        >>> verbatim([PartResult(passage=Passage(text="It broke.", number=3), result=SubtaskResult(value="negative"))])
        'It broke.'
    """
    return "\n".join(part.passage.text for part in parts)
