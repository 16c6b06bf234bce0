"""How a model says that it will not answer, for any provider."""

from __future__ import annotations

from langchain_core import exceptions
from langchain_core.exceptions import OutputParserException

_MODEL_REFUSAL: type[Exception] | None = getattr(exceptions, "ModelRefusalError", None)
"""LangChain's own error, from langchain-core 1.7.5. A model that was asked for structured output raises it."""


class RefusalError(OutputParserException):
    """The large model refused to answer, in the way that its provider has for it."""


def as_refusal(error: Exception) -> Exception:
    """A model's refusal as a `RefusalError`. Any other error is returned unchanged.

    Example:
        >>> as_refusal(TimeoutError("no answer"))
        TimeoutError('no answer')
    """
    if _MODEL_REFUSAL is None or not isinstance(error, _MODEL_REFUSAL):
        return error
    refusal = RefusalError(f"The large model refused: {error}", llm_output=str(error))
    refusal.__cause__ = error
    return refusal
