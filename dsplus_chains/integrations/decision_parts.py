"""The base class of LangChain's decision models, or a stand-in that says what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["BaseDecisionModel"]

if TYPE_CHECKING:
    from langchain_core.decisions import BaseDecisionModel
else:
    try:
        from langchain_core.decisions import BaseDecisionModel
    except ImportError:
        from langchain_core.runnables import RunnableSerializable

        class BaseDecisionModel(RunnableSerializable):
            """Says what to install."""

            model: str

            def __init__(self, **_given: Any) -> None:
                msg = "A decision model needs langchain-core 1.8 or newer; run: pip install -U langchain-core"
                raise ImportError(msg)

            def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
                """Nothing: none can be made."""
