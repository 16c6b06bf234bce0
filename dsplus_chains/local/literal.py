"""Texts as tokens that mean nothing but themselves. A text cannot pose as the beginning of a message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


class LiteralTexts:
    """Encodes conversations so that only the chat template makes role tokens, whatever the texts hold.

    A tokenizer reads the name of a role token, such as ``<|im_start|>``, as that token. So a text is cut inside such
    names, and each part is read by itself. A text without them is read as the tokenizer always does.

    Args:
        tokenizer: A tokenizer with a chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        names = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
        longer = [re.escape(name) for name in names if len(name) > 1]
        self._names = re.compile(f"(?={'|'.join(longer) or '(?!)'})", re.IGNORECASE)

    def encode(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation as token numbers, up to where the assistant's next answer begins.

        Args:
            turns: The turns in order, each `{"role": ..., "content": ...}`.
        """
        texts = [turn["content"] for turn in turns]
        if not any(map(self._names.search, texts)):
            encoded = self._template([dict(turn) for turn in turns], tokenize=True, return_dict=True)
            return list(encoded["input_ids"])
        # The template is filled with marks, which then give way to the tokens of the texts.
        marked = [{**turn, "content": f"\ue000{number}\ue001"} for number, turn in enumerate(turns)]
        ids: list[int] = []
        for number, part in enumerate(re.split("\ue000([0-9]+)\ue001", self._template(marked, tokenize=False))):
            for piece in self._pieces(texts[int(part)]) if number % 2 else [part]:
                ids += self._tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _template(self, turns: list[dict[str, str]], **how: Any) -> Any:
        return self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, **how)

    def _pieces(self, text: str) -> list[str]:
        """A text in parts of which none holds a whole name."""
        cuts = [0, *(found.start() + 1 for found in self._names.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(cuts)]
