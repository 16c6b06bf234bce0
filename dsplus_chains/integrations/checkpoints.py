"""Our values in the checkpoints of LangGraph."""

from __future__ import annotations

from enum import Enum
from typing import Any

from dsplus_chains.integrations.agent_parts import not_installed
from dsplus_chains.schema import (
    Explanation,
    ImageInput,
    LargeAnswer,
    ModelChoice,
    Passage,
    Prediction,
    SubtaskResult,
    SubtaskResults,
)
from dsplus_chains.schema.value import Value
from dsplus_chains.verifying.candidate_verdict import Check, Verdict
from dsplus_chains.verifying.verified_prediction import VerifiedPrediction

VALUES: tuple[type, ...] = (
    Check,
    Explanation,
    ImageInput,
    LargeAnswer,
    ModelChoice,
    Passage,
    Prediction,
    SubtaskResult,
    SubtaskResults,
    Verdict,
    VerifiedPrediction,
)
"""The values that come back from a checkpoint as what they were."""

_PLAIN: tuple[Any, ...] = (dict, list, str, int)
"""What a value of a subclass is written as, as LangGraph does."""


def checkpoint_serde(*allowed: type) -> Any:
    """The serializer for a LangGraph checkpointer that keeps our values as they are.

    Predictions, answers of the large model, results of subtasks and passages come back equal, nested ones too. That
    also holds under ``LANGGRAPH_STRICT_MSGPACK``. As there, no other class is made while a checkpoint is read, beside
    those that LangGraph itself trusts.

    Args:
        *allowed: Your own classes in the state.

    Raises:
        ImportError: LangGraph is not installed.

    Example:
        >>> serde = checkpoint_serde()  # SqliteSaver(connection, serde=serde)
        >>> said = {"prediction": Prediction(label=1, confidence=0.9, probabilities={1: 0.9, 2: 0.1})}
        >>> serde.loads_typed(serde.dumps_typed(said)) == said
        True
    """
    try:
        import ormsgpack
        from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_KW_ARGS, EXT_CONSTRUCTOR_SINGLE_ARG
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer as LangGraphs
    except ImportError as error:
        raise not_installed(a="checkpoint") from error

    class CheckpointSerializer(LangGraphs):
        """LangGraph's own serializer, which would turn a value inside of another into a dict."""

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            if obj is None or isinstance(obj, (bytes, bytearray)):
                return super().dumps_typed(obj)
            return "msgpack", self._packed(obj)

        def _packed(self, obj: Any) -> bytes:
            option = (
                ormsgpack.OPT_NON_STR_KEYS
                | ormsgpack.OPT_PASSTHROUGH_DATACLASS
                | ormsgpack.OPT_PASSTHROUGH_DATETIME
                | ormsgpack.OPT_PASSTHROUGH_ENUM
                | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
                | ormsgpack.OPT_PASSTHROUGH_UUID
                | ormsgpack.OPT_REPLACE_SURROGATES
            )
            return ormsgpack.packb(obj, default=self._other, option=option)

        def _other(self, obj: Any) -> Any:
            """What msgpack does not know, in a form that LangGraph's serializer reads."""
            kind = type(obj)
            if isinstance(obj, (Value, ImageInput)):
                return self._made_by(EXT_CONSTRUCTOR_KW_ARGS, kind, {**obj.__dict__})
            if kind is SubtaskResults:
                return self._made_by(EXT_CONSTRUCTOR_SINGLE_ARG, kind, dict(obj))
            for plain in _PLAIN:
                if isinstance(obj, plain) and not isinstance(obj, Enum):
                    return plain(obj)
            _, packed = super().dumps_typed(obj)
            return ormsgpack.unpackb(packed, ext_hook=ormsgpack.Ext, option=ormsgpack.OPT_NON_STR_KEYS)

        def _made_by(self, code: int, kind: type, given: Any) -> Any:
            return ormsgpack.Ext(code, self._packed((kind.__module__, kind.__name__, given)))

    return CheckpointSerializer(allowed_msgpack_modules=[*VALUES, *allowed])
