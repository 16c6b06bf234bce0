"""A batch whose runs nobody hears needs no run of its own for each row, which costs more than most rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    get_config_list,
    patch_config,
)

if TYPE_CHECKING:
    from dsplus_chains.running.flow import Configs, Manager

Kind = TypeVar("Kind", bound=type)

_ENTRIES = ("invoke", "ainvoke", "batch", "abatch", "_settled")
_KNOWN: set[Any] = set()
"""The methods that take an `Unheard` in place of a config."""


class UnheardRun(CallbackManagerForChainRun):
    """The run manager of a run that was never begun, because nobody hears it."""


class AwaitedUnheardRun(AsyncCallbackManagerForChainRun):
    """The same, where the run is awaited."""


class Unheard:
    """A batch whose runs nobody hears. A Runnable of this package takes one in place of a config.

    Its run managers and configs are made if they are asked for. Rows with one config share them. Tags, metadata and
    handlers reach whatever is called within, just as from a run that is heard.

    Args:
        given: The config of each row, or the one that all rows share.
        callbacks: The callback manager of each config.
        count: Number of rows.
        awaits: Whether the rows are awaited.
    """

    def __init__(self, given: Configs, callbacks: Sequence[Any], *, count: int, awaits: bool) -> None:
        self._given, self._callbacks, self._count, self._awaits = given, callbacks, count, awaits
        self._is_shared = len(given) == 1

    @property
    def managers(self) -> list[Manager]:
        """One run manager for each row."""
        return self._runs * self._count if self._is_shared else self._runs

    @property
    def configs(self) -> Configs:
        """One config for each row, for what is called within."""
        inner, _ = self._within
        return inner * self._count if self._is_shared else inner

    def config_for(self, step: Any, rows: Sequence[int]) -> Any:
        """What a step is called with for some rows. It is a single config where all rows share one.

        A Runnable of this package gets an `Unheard`, so it need not find out anew that nobody hears.
        """
        picked = [0] if self._is_shared else rows
        inner, callbacks = ([part[row] for row in picked] for part in self._within)
        if takes_unheard(step):
            return Unheard(inner, callbacks, count=len(rows), awaits=self._awaits)
        return inner[0] if self._is_shared else inner

    @cached_property
    def _runs(self) -> list[Manager]:
        kind: Any = AwaitedUnheardRun if self._awaits else UnheardRun
        return [
            kind(
                run_id=uuid4(),
                handlers=manager.handlers,
                inheritable_handlers=manager.inheritable_handlers,
                parent_run_id=manager.parent_run_id,
                tags=manager.tags,
                inheritable_tags=manager.inheritable_tags,
                metadata=manager.metadata,
                inheritable_metadata=manager.inheritable_metadata,
            )
            for manager in self._callbacks
        ]

    @cached_property
    def _within(self) -> tuple[Configs, Sequence[Any]]:
        """The configs for what is called within, and their callback managers."""
        if not any(isinstance(one.get("callbacks"), BaseCallbackManager) for one in self._given):
            for one in self._given:
                one.pop("run_name", None)  # that of the run which was left out
            return self._given, self._callbacks
        children = [run.get_child() for run in self._runs]
        return [patch_config(one, callbacks=child) for one, child in zip(self._given, children, strict=True)], children


def unheard(config: Any, count: int, *, awaits: bool) -> Unheard | None:
    """A batch, if nobody hears of its chains or events. Else None. An empty batch is None too.

    A handler hears it, and so does a tracer, a `decisions` block, or a setting of the process such as LangChain's debug
    mode. Whoever gives a run's id wants to find it again, which counts as hearing.

    Args:
        config: The config of the batch, or one for each row. An `Unheard` is returned as it is.
        count: Number of rows.
        awaits: Whether the rows are awaited.
    """
    if not count or isinstance(config, Unheard):
        return config if count else None
    configure = get_async_callback_manager_for_config if awaits else get_callback_manager_for_config
    given = get_config_list(config, count) if isinstance(config, Sequence) else [ensure_config(config)]
    callbacks: list[Any] = []
    for one in given:
        callbacks.append(configure(one))
        if one.get("run_id") is not None or any(map(_hears, callbacks[-1].handlers)):
            return None
    return Unheard(given, callbacks, count=count, awaits=awaits)


def within(run: Any, configs: Configs, managers: Sequence[Manager], *, awaits: bool) -> Any:
    """What a Runnable is called with by a flow, as an `Unheard` where nobody hears the flow.

    Args:
        run: The Runnable.
        configs: One config for each row, with a child of the row's run manager as its callbacks.
        managers: The run managers of the flow.
        awaits: Whether the rows are awaited.
    """
    is_unheard = bool(managers) and all(isinstance(one, UnheardRun | AwaitedUnheardRun) for one in managers)
    if not configs or not is_unheard or not takes_unheard(run):
        return configs
    callbacks: list[Any] = []
    given = configs[:1] if all(one is configs[0] for one in configs) else configs
    for one in given:
        manager: Any = one["callbacks"]
        if any(map(_hears, manager.handlers)):
            return configs
        callbacks.append(manager.copy())
        callbacks[-1].add_tags(one.get("tags") or [])
        callbacks[-1].add_metadata(one.get("metadata") or {})
    return Unheard(given, callbacks, count=len(configs), awaits=awaits)


def knows_unheard(kind: Kind) -> Kind:
    """A class of Runnables whose methods take an `Unheard` in place of a config. Those that override one do not."""
    _KNOWN.update(vars(kind)[name] for name in _ENTRIES if name in vars(kind))
    return kind


def takes_unheard(run: Any) -> bool:
    """Whether a Runnable takes an `Unheard` in place of a config."""
    kind: Any = type(run)
    return _is_known(kind)


@lru_cache(maxsize=1024)
def _is_known(kind: Any) -> bool:
    return all(getattr(kind, name) in _KNOWN for name in _ENTRIES if hasattr(kind, name))


def _hears(handler: BaseCallbackHandler) -> bool:
    return not (handler.ignore_chain and handler.ignore_custom_event)
