"""`ExperienceStore` keeps every decision of a chain, and the true labels that come later."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread, current_thread
from time import time
from typing import Any, Self

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from dsplus_chains.learning.experience import Experience, read_text
from dsplus_chains.learning.experience_file import DAY, ExperienceFile
from dsplus_chains.learning.experience_rows import Decision, kept_apart
from dsplus_chains.learning.experience_table import write_experience
from dsplus_chains.learning.store_handler import StoreHandler
from dsplus_chains.learning.write_behind import THREAD, WriteBehind
from dsplus_chains.schema import (
    InvalidInputError,
    LargeAnswer,
    check_answered,
    clean_answers,
    clean_labels,
    column_of,
    is_number,
    read_confidences,
    shown,
)

MOST_WAITING = 200_000
"""So many decisions wait to be written at most. Further ones are lost and counted. A large batch decides at once."""
PAUSE = 0.2
"""Seconds for which decisions are collected before they are written."""


class ExperienceStore:
    """Keeps decisions in one SQLite file: what both models said, the answer, and the true label once it is known.

    Give it to a chain as ``data_shunt(..., experience=store)`` or ``shunt(..., experience=store)``. `record_answers`
    puts it around an app that has no small model yet. `handler` is for any other chain. To record costs the caller some
    microseconds. One thread writes. A kill loses what was decided in the last half second. No more than 200,000
    decisions wait. Several threads and processes may share a file, forked ones too.

    The store never costs an answer. What it cannot keep, because the disk is full or too much waits, is counted as
    `lost`. The first time it is told, as a warning of the logger "dsplus_chains".

    Args:
        path: The file. It is made if it is missing. ":memory:" keeps the decisions as long as the store lives.
        redact: What makes a text fit to be kept, as a function from text to text. Nothing is written before. It gets
            the input, the large model's reason, and each text in an answer, unless that is a label of the small model.
            If it fails, the text is not kept.
        keep_text: Whether texts of inputs are kept. Their hashes always are. Somebody who guesses a text can tell by
            its hash that it was there.
        keep_days: Days after which rows are deleted. None keeps them.

    Raises:
        InvalidInputError: A setting is of another kind. Or the file is no SQLite file, cannot be opened, is the
            database of another program, or has the tables of another release.

    Example:
        >>> from dsplus_chains import Prediction
        >>> store = ExperienceStore(":memory:")  # a file's name, to keep them
        >>> sure = Prediction(label="spam", confidence=0.97)
        >>> store.record({"input": "win a prize", "prediction": sure, "answer": "spam", "source": "small"})
        >>> store.correct("Win a prize!", "ham")
        >>> [(row.text, row.answer, row.gold) for row in store.rows()]
        [('win a prize', 'spam', 'ham')]
        >>> store.close()
    """

    def __init__(
        self,
        path: str | Path,
        *,
        redact: Callable[[str], str] | None = None,
        keep_text: bool = True,
        keep_days: float | None = None,
    ) -> None:
        self.path = str(path)
        self._settings: dict[str, Any] = {"redact": redact, "keep_text": keep_text, "keep_days": keep_days}
        self._file = ExperienceFile(None if self.path == ":memory:" else Path(path), **self._settings)
        self._queue = WriteBehind(self._file.write, most=MOST_WAITING, pause=PAUSE)
        self._end = weakref.finalize(self, _end, self._queue, self._file)  # also at the end of the process

    def record(self, record: Mapping[str, Any], /) -> None:
        """Keep the decision in a record. It is written within half a second.

        Args:
            record: The record of a chain, or of a shunt around an app.

        Raises:
            InvalidInputError: It is no record.
        """
        if not isinstance(record, dict) or "answer" not in record or "source" not in record:
            check_answered(record, place="store.record(record)")
        if not self._queue.put((time(), kept_apart(record))):  # the caller may go on with the record
            self._file.lose(1, f"the store is closed, or {MOST_WAITING:,} decisions wait to be written")

    def handler(self) -> BaseCallbackHandler:
        """A callback handler that records the decisions of any chain, as ``config={"callbacks": [store.handler()]}``.

        It hears the shunts around apps, wherever they are. Of other chains it records the output, if that is a record.
        Do not use it with a chain that has the store already.
        """
        return StoreHandler(self)

    @property
    def lost(self) -> int:
        """Number of decisions that this process could not keep."""
        return self._file.lost

    def rows(self, *, since: float | None = None) -> Iterator[Experience]:
        """The decisions, in the order in which they were written.

        Args:
            since: Point of time, in seconds since 1970, from which on they are wanted.

        Raises:
            InvalidInputError: That is no number.
        """
        if since is not None and not is_number(since):
            msg = f"Got since={shown(since)} but expected seconds since 1970, such as time.time() - 86400"
            raise InvalidInputError(msg)
        self.flush()
        return self._file.rows(float("-inf") if since is None else since)

    def __len__(self) -> int:
        """How many rows there are."""
        self.flush()
        return self._file.count()

    def __bool__(self) -> bool:
        """True also for an empty store."""
        return True

    def add_gold(
        self,
        texts: Sequence[str | tuple[str, str]],
        labels: Sequence[Any],
        *,
        large_answers: Sequence[Any] | None = None,
        large_confidences: Sequence[float | None] | None = None,
        origin: str = "gold",
    ) -> None:
        """Attach true labels to texts, and to the copies of them. A later label replaces an earlier one.

        A label of a sample that nobody chose for its errors stays one of it when it is corrected. Else the sample would
        lose the rows that were wrong.

        A text that was not seen so far gets a row of its own. So does one that comes with a large answer.

        Args:
            texts: The texts, or pairs of texts.
            labels: The true label of each.
            large_answers: What the large model said of each, None where that is not known.
            large_confidences: How sure it was.
            origin: Where the labels come from.

        Raises:
            InvalidInputError: Lengths differ, a label is missing, or a text is none.
            sqlite3.Error: The file is locked, damaged or full.
        """
        texts, labels = [read_text(text) for text in column_of(texts, "texts")], clean_labels(labels)
        answers = [None] * len(texts) if large_answers is None else clean_answers(large_answers, "large answers")
        sure = [None] * len(texts) if large_confidences is None else read_confidences(large_confidences)
        if not len(texts) == len(labels) == len(answers) == len(sure):
            msg = (
                f"Got {len(texts)} texts, {len(labels)} labels, {len(answers)} large answers and {len(sure)} "
                "confidences but expected as many of each"
            )
            raise InvalidInputError(msg)
        now = time()
        decisions = [
            Decision(now, text, large=None if said is None else LargeAnswer(value=said, confidence=confidence))
            for text, said, confidence in zip(texts, answers, sure, strict=True)
        ]
        self.flush()
        self._file.add(decisions, labels, origin)

    def answered(self, text: str | tuple[str, str], label: Any, *, confidence: float | None = None) -> None:
        """Keep what the large model has answered to a text that was only decided upon before.

        A `ShuntMiddleware`, and a `shunt_node` without `large`, do not see that answer. `learn` puts it together with
        the earlier decision, because the text is the same. For a node of a graph, `record_answers` does it by itself.

        Args:
            text: The text, as the small model has read it.
            label: The label that the answer stands for.
            confidence: How sure the large model was.

        Raises:
            InvalidInputError: It is no text.
        """
        large = LargeAnswer(value=label, confidence=confidence)
        self.record({"input": read_text(text), "answer": label, "source": "large", "large": large})

    def correct(self, text: str | tuple[str, str], label: Any) -> None:
        """Attach the true label that somebody has given to a text; see `add_gold`."""
        self.add_gold([text], [label], origin="correction")

    def attach(self, row: Experience, label: Any, *, origin: str = "gold") -> None:
        """Attach a true label to a row that this store gave, and to the copies of its text.

        It finds the text by its hash. So it also works where the text is kept in another form, or not at all.

        Args:
            row: The row.
            label: The true label.
            origin: Where the label comes from.

        Raises:
            InvalidInputError: The label is missing.
            sqlite3.Error: The file is locked, damaged or full.
        """
        self.flush()
        self._file.attach(row.text_hash, clean_labels([label])[0], origin)

    def forget(self, older_than_days: float) -> int:
        """Delete the rows that are older, and the true labels of texts of which no row is left.

        Args:
            older_than_days: The age.

        Returns:
            Number of deleted rows.

        Raises:
            InvalidInputError: The age is no number of at least 0.
            sqlite3.Error: The file is locked, damaged or full.
        """
        if not is_number(older_than_days, least=0):
            msg = f"Got older_than_days={shown(older_than_days)} but expected a number of days of at least 0"
            raise InvalidInputError(msg)
        self.flush()
        return self._file.forget(time() - older_than_days * DAY)

    def to_parquet(self, path: str | Path) -> None:
        """Write all rows into a Parquet file, whole or not at all. It needs pyarrow, from the extra `report`.

        A column of labels of several types, or of objects, holds texts. Probabilities are JSON.

        Raises:
            TableError: pyarrow is not installed.
        """
        write_experience(Path(path), self.rows())

    def flush(self) -> None:
        """Write what waits to be written."""
        self._queue.flush()

    def close(self) -> None:
        """Write what waits, and close the file. Later decisions are lost."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """The name of the file."""
        return f"ExperienceStore({self.path!r})"

    def __deepcopy__(self, memo: object) -> Self:
        return self  # copies of a chain share its store

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (type(self), self.path, self._settings)


def _opened(kind: type[ExperienceStore], path: str, settings: dict[str, Any]) -> ExperienceStore:
    """The store of a pickled one, over the same file."""
    return kind(path, **settings)


def _end(queue: WriteBehind, file: ExperienceFile) -> None:
    if current_thread().name == THREAD:  # the garbage collector ran in a writer, which may hold the locks of the queue
        Thread(target=_end, args=(queue, file), name=f"{THREAD}-end", daemon=False).start()
        return
    queue.close()
    file.close()
