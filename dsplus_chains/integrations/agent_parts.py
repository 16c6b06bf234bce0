"""The parts of LangChain's agents that a middleware is made of.

Without LangChain's agents there are stand-ins, so that the module can be imported. Making a middleware then says what
to install.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "AgentMiddleware",
    "AgentState",
    "ModelResponse",
    "PrivateStateAttr",
    "hook_config",
    "not_installed",
    "schema_of",
]


def not_installed(*, a: str) -> ImportError:
    """The error of what needs the extra `agents`."""
    return ImportError(f"A {a} needs langchain and langgraph; run: pip install 'dsplus-chains[agents]'")


def schema_of(response_format: Any) -> Any:
    """The class or JSON schema that an agent's response has by its format, which may be a strategy around it."""
    from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy

    is_strategy = isinstance(response_format, (AutoStrategy, ProviderStrategy, ToolStrategy))
    return response_format.schema if is_strategy else response_format


if TYPE_CHECKING:
    from langchain.agents.middleware.types import (
        AgentMiddleware,
        AgentState,
        ModelResponse,
        PrivateStateAttr,
        hook_config,
    )
else:
    try:
        from langchain.agents.middleware.types import (
            AgentMiddleware,
            AgentState,
            ModelResponse,
            PrivateStateAttr,
            hook_config,
        )
    except ImportError:
        ModelResponse = PrivateStateAttr = None
        AgentState = dict

        def hook_config(**_kwargs: Any) -> Any:
            """Nothing: there is no agent to configure."""
            return lambda function: function

        class AgentMiddleware:
            """Says what to install."""

            def __init__(self) -> None:
                raise not_installed(a="middleware")
