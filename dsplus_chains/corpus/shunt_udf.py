"""`ShuntUDF` labels the batches of a distributed engine, such as Ray Data, Spark or Daft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.runnables import Runnable

from dsplus_chains.corpus.answering import answered_row, gate_before, large_of, records_of, whole_gate
from dsplus_chains.corpus.arrays import cells_of, columns_in, with_columns
from dsplus_chains.corpus.run_input import ADDED
from dsplus_chains.corpus.scored import outputs_of
from dsplus_chains.corpus.shared_arm import SharedArm
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.limits import TIMEOUT, Limits
from dsplus_chains.schema import InvalidInputError, check_least, is_missing, shown, what_came
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.storage.answer_cache import SQLiteAnswerCache, remembering
from dsplus_chains.storage.bundle import Bundle
from dsplus_chains.tables.table import Column, check_column_names, columns_of

_EXAMPLES: dict[str, list[Any]] = {"source": ["small"], "confidence": [0.5], "error": [""]}
"""Values of the new columns, which tell their types. Those of the answer are the labels."""


class _Loaded(NamedTuple):
    """What a worker holds."""

    scorer: BaseScorer
    gate: Runnable[Any, Any]
    limits: Limits
    labels: Sequence[Any]


@dataclass(frozen=True)
class ShuntUDF:
    """A function over batches of rows, for an engine that has many workers.

    A batch is a table or record batch of Arrow, a data frame of pandas, or a dict of arrays. It comes back as what it
    was, with all its columns, and so with the ids of its rows. Four columns are new, as in the output of `label_table`:
    `answer`, `source`, `confidence` and `error`. A row that neither model can answer has the source "error". It does
    not stop the others.

    The object is small and can be pickled, for it holds settings alone. A worker loads the bundle when its first batch
    comes. The small model is called once a batch. The deferred rows of a batch are asked about side by side. Several
    threads may call one object, and share its limit of requests.

    Give `answers` a file. A reply is kept there as soon as it is there, and is never paid for again. So an engine may
    do a batch again after a crash. All workers of a machine can share one file. A file on a network drive is not safe.

    If the bundle asks in groups, the deferred rows of a batch share prompts. Then `timeout` has no effect, and each
    thread has `concurrency` requests of its own. The client's own timeout counts still.

    Args:
        bundle: The folder of a tuned bundle. Each worker needs it under this path.
        large: A chat model for the rows that the small model is not sure of, or a function that makes one in the
            worker. A model that holds a key or a connection needs that: ``partial(ChatOpenAI, model="gpt-4o-mini")``.
        text: The column with the texts, or with images in any form that `read_image` knows. Two columns, as a tuple,
            hold pairs of texts.
        answers: The file that keeps the large model's replies. None keeps none, and the model its own cache.
        expected_sha256: SHA-256 of the bundle's manifest. See `Bundle.load`.
        allow_download: Whether an encoder that the bundle names may be fetched from the hub.
        concurrency: Most requests of one worker at the same time.
        timeout: Seconds that the large model has for one row.
        threads: Number of torch's threads in a worker. None leaves it as it is.

    Raises:
        BundleError: The bundle is damaged, or not tuned.
        InvalidInputError: A setting is none that it may be, or answers are to be kept of what is no chat model itself.
            Or a batch lacks the column, has one of the new columns already, or is of another kind.
        LargeModelError: The large model's key is refused, or there is no such model.

    Example:
        >>> large = partial(ChatOpenAI, model="gpt-4o-mini")  # doctest: +SKIP
        >>> settings = {"bundle": "intents", "large": large, "answers": "answers.sqlite"}  # doctest: +SKIP
        >>> rows = ray.data.read_parquet("lake").repartition(target_num_rows_per_block=256)  # doctest: +SKIP
        >>> rows.map_batches(  # doctest: +SKIP
        ...     ShuntUDF, fn_constructor_kwargs=settings, concurrency=7, batch_size=256, batch_format="pyarrow"
        ... ).write_parquet("labelled")

    Ray Data gets the class and its settings, as above. Then each worker keeps what it has loaded. Say how many rows a
    block has. Ray makes blocks by bytes, so many files of short texts become one block, for one worker. Leave a
    processor for reading: of eight, seven workers. For a cluster, first call ``ray.init(address="auto")`` on one of its
    machines. All of them need this package, and the bundle under the same path.

    In Spark, write ``frame.mapInArrow(lambda batches: map(ShuntUDF(**settings), batches), schema)``. In a class of
    Daft, call it with ``{"text": texts.to_pylist()}``.

    If the driver is killed, the replies in `answers` are kept, but all rows are scored anew. Ray Data can pass over the
    rows that it has written. Before it reads, set `DataContext.get_current().checkpoint_config` to
    ``CheckpointConfig(id_column="id", checkpoint_path=...)`` of `ray.data.checkpoint` (Ray 2.60). Each row needs an id
    of its own, and all machines have to reach the path. A row counts once its block is written. So use small blocks,
    and `answers` besides. `label_table` needs none of this, since its journal keeps each reply and each row.

    A processor of `ray.data.llm` asks about a dataset, so it cannot be `large`. Let `large` ask a server with the same
    model. Or have the deferred rows answered first. Join `reply` to all rows by their ids, and give that table to
    `label_table`, with ``large_column="reply"``. The processor below needs aiohttp. Ray ends where a request fails, if
    `DataContext.max_errored_blocks` does not say otherwise.

        >>> def with_messages(batch):  # none where the small model keeps the row  # doctest: +SKIP
        ...     records = bundle.scorer.batch(list(batch["text"]))
        ...     nothing = read_recorded([None] * len(records), bundle.task.parser)
        ...     prompts = zip(bundle.task.prompt.batch(records), bundle.replay(records, nothing))
        ...     said = [[] if row["source"] == "small" else prompt.to_messages() for prompt, row in prompts]
        ...     return batch.assign(messages=[convert_to_openai_messages(each) for each in said])
        >>> processor = build_processor(  # doctest: +SKIP
        ...     HttpRequestProcessorConfig(url="http://localhost:8000/v1/chat/completions"),
        ...     preprocess=lambda row: {"payload": {"model": "qwen", "messages": list(row["messages"])}},
        ...     postprocess=lambda row: {**row, "reply": row["http_response"]["choices"][0]["message"]["content"]},
        ... )
        >>> rows = rows.map_batches(with_messages, batch_format="pandas")  # doctest: +SKIP
        >>> answered = processor(rows.filter(lambda row: len(row["messages"]) > 0))  # doctest: +SKIP
    """

    bundle: str | Path
    large: Runnable[Any, Any] | Callable[[], Any]
    _: KW_ONLY
    text: Column = "text"
    answers: str | Path | None = None
    expected_sha256: str | None = None
    allow_download: bool = False
    concurrency: int = 16
    timeout: float | None = TIMEOUT
    threads: int | None = 1
    _lock: ForkLock = field(default_factory=ForkLock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_least("concurrency", self.concurrency, 1)
        if self.threads is not None:
            check_least("threads", self.threads, 1)
        Limits(timeout=self.timeout)  # refuses what is no time
        check_column_names(self.text)
        if not (isinstance(self.large, Runnable) or callable(self.large)):
            msg = f"Got large={what_came(self.large)} but expected a chat model, or a function that makes one"
            raise InvalidInputError(msg)

    def __call__(self, batch: Any) -> Any:
        """The batch with the answers of its rows."""
        inputs = self._inputs(batch)
        with self._lock:  # one call of the small model at a time
            loaded = self._loaded
            outputs = outputs_of(loaded.scorer, inputs)
        records = records_of(loaded.gate, outputs, {"max_concurrency": self.concurrency})
        rows = [answered_row(row, record) for row, record in enumerate(records)]
        loaded.limits.check()
        columns = {name: [getattr(row, name) for row in rows] for name in ADDED}
        return with_columns(batch, columns, examples={"answer": loaded.labels, **_EXAMPLES})

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone. What a worker has loaded stays there."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def _inputs(self, batch: Any) -> list[Any]:
        """What the small model reads, one for each row."""
        names = columns_in(batch)
        if missing := [name for name in columns_of(self.text) if name not in names]:
            msg = f"Got a batch without the column {missing[0]!r}; its columns are {', '.join(map(shown, names[:12]))}"
            raise InvalidInputError(msg)
        if twice := [name for name in columns_of(self.text) if names.count(name) > 1]:
            msg = f"Got a batch with the column {twice[0]!r} twice but expected each name once; rename one"
            raise InvalidInputError(msg)
        if taken := [name for name in ADDED if name in names]:
            msg = f"Got a batch with the column {taken[0]!r}, which the answers need for themselves; rename it"
            raise InvalidInputError(msg)
        cells = [["" if is_missing(cell) else cell for cell in cells_of(batch, name)] for name in columns_of(self.text)]
        return cells[0] if isinstance(self.text, str) else list(zip(*cells, strict=True))

    @cached_property
    def _loaded(self) -> _Loaded:
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        loaded = Bundle.load(self.bundle, expected_sha256=self.expected_sha256, allow_download=self.allow_download)
        large: Any = self.large if isinstance(self.large, Runnable) else self.large()
        if self.answers is not None:
            large = remembering(large, SQLiteAnswerCache(self.answers))
        limits = Limits(timeout=self.timeout)
        chain = loaded.chain(large)
        gate = (
            gate_before(SharedArm(large_of(chain), limits=limits, concurrency=self.concurrency), chain)
            if loaded.task.group == 1
            else whole_gate(chain, breaker=limits.breaker)
        )
        return _Loaded(loaded.scorer.deferring(), gate, limits, loaded.task.labels)
