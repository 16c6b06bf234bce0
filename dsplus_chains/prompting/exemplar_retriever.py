"""`ExemplarRetriever` returns solved examples as LangChain documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import RunnableConfig, run_in_executor
from pydantic import InstanceOf, PrivateAttr
from typing_extensions import override

from dsplus_chains.prompting.exemplar import Exemplar
from dsplus_chains.running.flow import Configs


@runtime_checkable
class FindsExemplars(Protocol):
    """Anything that finds solved examples for a batch of texts."""

    def select_batch(self, texts: Sequence[str]) -> list[list[Exemplar]]:
        """The examples for each text, nearest first."""


class ExemplarRetriever(BaseRetriever):
    """Retrieves solved examples as documents, with one search for a batch.

    `ExemplarSelector.as_retriever` makes it.
    """

    selector: InstanceOf[FindsExemplars]
    _found: dict[str, list[Exemplar]] = PrivateAttr(default_factory=dict)

    @override
    def batch(
        self, inputs: list[str], config: Configs | RunnableConfig | None = None, **kwargs: Any
    ) -> list[list[Document]]:
        return super(ExemplarRetriever, self._searched(inputs)).batch(inputs, config, **kwargs)

    @override
    async def abatch(
        self, inputs: list[str], config: Configs | RunnableConfig | None = None, **kwargs: Any
    ) -> list[list[Document]]:
        searched = await run_in_executor(None, self._searched, inputs)
        return await super(ExemplarRetriever, searched).abatch(inputs, config, **kwargs)

    def _searched(self, queries: list[str]) -> Self:
        """The same retriever, which has searched already.

        Each query still gets a run of its own, with its callbacks.
        """
        try:
            found = self.selector.select_batch(queries)
        except Exception:  # one query cannot be read, so each is searched alone and only that one fails
            return self
        searched = self.model_copy()
        searched._found = dict(zip(queries, found, strict=True))
        return searched

    @override
    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        found = self._found[query] if query in self._found else self.selector.select_batch([query])[0]
        return [
            Document(
                page_content=exemplar.input,
                metadata={"label": exemplar.label, "prediction": exemplar.prediction and str(exemplar.prediction)},
            )
            for exemplar in found
        ]
