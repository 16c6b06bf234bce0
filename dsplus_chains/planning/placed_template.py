"""`PlacedTemplate`: a plan's template, filled with the values of the current request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from typing_extensions import override

from dsplus_chains.planning.shape import filled, placed, request_of
from dsplus_chains.subtasks.combining import ResultTemplate


class PlacedTemplate(ResultTemplate):
    """A template for a request's shape. Its places are filled with the values of the record's request.

    Example:
        >>> from dsplus_chains import SubtaskResult
        >>> record = {"request": 'Is order 7 "{late}"?', "subtasks": {"tone": SubtaskResult(value="[number 1]")}}
        >>> PlacedTemplate(template="Order [number 1], [quote 2]: {tone}").invoke(record)
        'Order 7, "{late}": [number 1]'
    """

    @override
    def _fill(self, record: Mapping[str, Any]) -> str:
        return self.joined(record, partial(filled, values=placed(request_of(record))[1]))
