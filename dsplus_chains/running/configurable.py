"""`BatchConfigurableFields` batches LangChain's configurable fields."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, merge_configs
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langchain_core.runnables.utils import Input, Output
from typing_extensions import override

from dsplus_chains.running.drivers import adrive, drive
from dsplus_chains.running.flow import Ask, Configs, Flow


class BatchConfigurableFields(RunnableConfigurableFields[Input, Output]):
    """LangChain's configurable fields, batched.

    `RunnableConfigurableFields.batch` uses one `invoke` for each item once a value is passed in the config. Here rows
    with equal values form one batch.
    """

    def _groups(self, configs: Configs) -> list[tuple[Any, list[int], Configs]]:
        """The configured Runnable, the row numbers and the rows' configs, for each set of values."""
        ids = [field.id for field in self.fields.values()]
        rows: dict[Any, list[int]] = {}
        merged = [merge_configs(self.config, config) for config in configs]
        for row, config in enumerate(merged):
            values = config.get("configurable", {})
            key = tuple(_identity(values[i]) if i in values else None for i in ids)
            rows.setdefault(key, []).append(row)
        return [
            (self.prepare(configs[members[0]])[0], members, [merged[row] for row in members])
            for members in rows.values()
        ]

    def _grouped(self, inputs: list[Any], config: Any, return_exceptions: bool, kwargs: dict[str, Any]) -> Flow:
        """One batch for each set of values."""
        results: dict[int, Any] = {}
        for runnable, rows, configs in self._groups(get_config_list(config, len(inputs))):
            outputs = (yield Ask(runnable, [inputs[row] for row in rows], configs, kwargs)).outputs
            failed = next((output for output in outputs if isinstance(output, Exception)), None)
            if failed is not None and not return_exceptions:
                raise failed
            results.update(zip(rows, outputs, strict=True))
        return [results[row] for row in range(len(inputs))]

    @override
    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        outputs: list[Output] = drive(self._grouped(inputs, config, return_exceptions, kwargs))
        return outputs

    @override
    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        outputs: list[Output] = await adrive(self._grouped(inputs, config, return_exceptions, kwargs))
        return outputs


def _identity(value: Any) -> Any:
    """The key that tells one configured value from another.

    Plain values are compared by value, and objects by identity.
    """
    if isinstance(value, dict):
        return tuple((_identity(key), _identity(item)) for key, item in value.items())
    return (type(value), value) if value is None or isinstance(value, (str, int, float)) else id(value)
