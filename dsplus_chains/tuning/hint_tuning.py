"""`tune_hints` finds how to ask the large model. It asks about tuning rows that a threshold could defer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, product
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from numpy.typing import NDArray

from dsplus_chains.prompting.hints import NONE_OF_THESE, HintMode
from dsplus_chains.running.each import AskEach
from dsplus_chains.running.limits import Limits
from dsplus_chains.schema import DSPlusError, InvalidInputError, Label, share
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.choice import fewest_to_compare
from dsplus_chains.tuning.fused import FusionMode
from dsplus_chains.tuning.hint_cell import HintCell, setting_name
from dsplus_chains.tuning.hint_checks import MODES, check_search, check_ways, rows_to_ask
from dsplus_chains.tuning.hint_choice import best_way
from dsplus_chains.tuning.hint_search import HintSearch, least_sure
from dsplus_chains.tuning.row_origin import RowOrigin
from dsplus_chains.tuning.sets import pruning_level
from dsplus_chains.tuning.token_budget import TokenBudget
from dsplus_chains.tuning.trial import Replies, ask_about, characters_of, sent_prompts
from dsplus_chains.tuning.tuned import Estimate
from dsplus_chains.tuning.tuning_rows import read_rows
from dsplus_chains.tuning.way_worth import measured


def tune_hints(
    scorer: Runnable[Any, Any],
    large_model: Runnable[LanguageModelInput, Any],
    texts: Sequence[Any],
    labels: Sequence[Label],
    *,
    task: LabelTask | None = None,
    hints: Sequence[HintMode] = MODES,
    exemplars: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    fusion: FusionMode = "auto",
    max_rows: int | None = None,
    max_tokens: int | None = None,
    set_coverage: float = 0.95,
    model_name: str | None = None,
    config: RunnableConfig | None = None,
    limits: Limits | None = None,
    side_by_side: bool = False,
    seed: int = 0,
    **settings: Any,
) -> HintSearch:
    """Ask a live large model about the same tuning rows in each way, and find which ingredients pay.

    The rows are those of which the small model is least sure, because a threshold defers these first. Every combination
    of hint mode and number of exemplars is one batch of the large model. Answers that are no label can add another
    batch. The same answers are judged with and without fusion. Each row is judged by fusion weights that had not seen
    it.

    The cheapest way to ask is taken, unless a dearer one is better by more than chance (see `tuning.choice`). The cost
    is dollars a row if the price is known. Else it is tokens a row, or characters if the model does not tell its
    tokens. Fusion costs nothing. So "posterior" counts for each way to ask, unless "replace" is ahead by more than two
    standard errors. The figures of the way that is taken are a little too good, because it was taken for them.

    Several rows may share a prompt (`groups`), which this tries only if asked to. It costs less, but a model may answer
    less well (see `GroupAsker`). A way that does so is taken if it costs less, and is shown to lose at most 2 % of the
    answers against the best way that asks row by row. A one-sided interval at about 95 % says so, divided by the number
    of such ways (see `Comparison.may_lose`). With fewer than 133 rows, or more for several such ways, it cannot be
    shown. Then nothing is asked in groups, and neither is a model that does not tell its tokens.

    Give the model a cache (``ChatOpenAI(cache=SQLiteAnswerCache("answers.sqlite"))``). Then every answer is paid for
    once, whatever happens.

    Args:
        scorer: The small model, not trained on these rows.
        large_model: Any LangChain chat model.
        texts: The tuning inputs, or the records that the scorer has made of them.
        labels: The true labels.
        task: What the large model is asked, and how its answers are read. Its hints and exemplars are varied.
        hints: The hint modes to try. "hard" is left out if there is another mode and "hard" would prune nothing. This
            is so with no more than `top_k` labels, or too few rows to promise `set_coverage` of fewer labels. "hard" is
            also left out if a label is called "none of these".
        exemplars: The numbers of solved examples to try. None means 0 and, if the task has `examples`, 4. None of the
            examples may be among the tuning rows.
        groups: The most rows in one prompt to try, such as ``(1, 10)``. None: as the task says, which is 1 by default.
            Of several, 1 has to be one.
        fusion: "replace", "posterior", or "auto" for both.
        max_rows: At most this many rows are asked about in each way. None: 400 if groups are tried, else 100.
        max_tokens: At most this many tokens are spent. A way to ask that is expected to exceed it is not tried. Answers
            from a cache count as well, so the same budget gives the same result again. Second questions, by `retries`
            and `reask`, cannot be foreseen and may exceed it.
        set_coverage: With "hard", how often the true label of one of these rows is among those that are offered.
        model_name: Name of the large model, for its price, such as "openai:gpt-4o-mini". None: no price is told.
        config: Config of the large model's calls, such as `max_concurrency` and callbacks.
        limits: How long and how patiently the large model is asked. None: without a breaker and without a time limit,
            so that each way to ask is one batch.
        side_by_side: Whether the ways are asked at the same time, as suits a model that may take hours, such as
            `BatchChatOpenAI`. `max_concurrency` then holds for each way. Groups come after single rows. With
            `max_tokens`, each way waits for the one before.
        seed: Seed of the folds of fusion.
        **settings: The settings of a task, such as `instruction`, if no `task` is given. See `LabelTask`.

    Returns:
        All that was measured, the best of it, and the large model's answers when asked in that way.

    Raises:
        InvalidInputError: Lengths differ, no labels are known, or exemplars have no examples. Or a number is out of
            range, or the budget is too small for any way to ask.
        DSPlusError: The large model did not answer at all.

    Warns:
        OverlapWarning: The small model was fitted on some of these rows.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> from dsplus_chains import Prediction, RunnableScorer
        >>> unsure = Prediction(label="ham", confidence=0.6, probabilities={"ham": 0.6, "spam": 0.4})
        >>> scorer = RunnableScorer(run=lambda text: unsure, labels=["ham", "spam"])
        >>> reader = RunnableLambda(lambda prompt: "spam" if "win" in prompt.to_string() else "ham")
        >>> texts, labels = ["win a car", "see you at six"] * 10, ["spam", "ham"] * 10
        >>> search = tune_hints(scorer, reader, texts, labels, instruction="Spam or ham?", fusion="replace")
        >>> search.best.name, search.best.fixed, len(search.cells)
        ('no hints, replace', 10, 2)
    """
    names = getattr(scorer, "labels", None)
    if names is None:
        msg = "Got a scorer that names no labels; use RunnableScorer(run=..., labels=[...])"
        raise InvalidInputError(msg)
    if task is None:
        task = LabelTask(labels=list(names), **settings)
    elif settings:
        msg = f"Got a task and {sorted(settings)} beside it but expected one or the other; use task.replace(...)"
        raise InvalidInputError(msg)
    task = task.for_scorer(scorer)
    records: list[Any] = list(texts)
    if not all(isinstance(value, Mapping) and "prediction" in value for value in records):
        records = scorer.batch(records)
    counts = [0, 4] if task.examples is not None else [0]
    origin = RowOrigin.of(records)
    origin.check(guaranteed=False)
    return search_hints(
        records,
        list(labels),
        copy_of=origin.copy_of,
        task=task,
        model=large_model,
        hints=hints,
        exemplars=counts if exemplars is None else exemplars,
        groups=(task.group,) if groups is None else groups,
        fusion=fusion,
        max_rows=rows_to_ask(max_rows, groups),
        max_tokens=max_tokens,
        set_coverage=set_coverage,
        model_name=model_name,
        config=config,
        limits=limits or Limits(breaker=None),
        side_by_side=side_by_side,
        seed=seed,
    )


def search_hints(
    records: Sequence[Mapping[str, Any]],
    labels: Sequence[Label],
    *,
    copy_of: NDArray[np.int64],
    task: LabelTask,
    model: Runnable[LanguageModelInput, Any],
    hints: Sequence[HintMode],
    exemplars: Sequence[int],
    groups: Sequence[int],
    fusion: FusionMode,
    max_rows: int,
    max_tokens: int | None,
    set_coverage: float,
    model_name: str | None,
    config: RunnableConfig | None,
    limits: Limits,
    side_by_side: bool,
    seed: int,
) -> HintSearch:
    """Search as `tune_hints` does, from records and for a task."""
    check_ways(hints, exemplars, groups, task)
    check_search(fusion, limits, groups=groups, max_rows=max_rows, max_tokens=max_tokens)
    everything = read_rows(
        [record["prediction"] for record in records],
        labels,
        [None] * len(records),
        costs=np.ones(len(records)),
        copy_of=copy_of,
    )
    asked = np.sort(least_sure(everything.predictions)[:max_rows])
    rows, chosen, untried = everything.part(asked), [records[row] for row in asked], []
    by_set = task.strong_labels is None and len(task.labels) > task.top_k
    level = pruning_level(rows, set_coverage) if by_set and "hard" in hints else None
    if "hard" in hints and len(set(hints)) > 1 and (why_not := _why_no_hard_hints(task, by_set, level, set_coverage)):
        hints = [mode for mode in hints if mode != "hard"]
        untried.append(f"hard hints, {why_not}")
    sizes = sorted(set(groups))
    in_groups = (len(sizes) - 1) * len(set(exemplars)) * len(set(hints))
    if in_groups and len(asked) < (fewest := fewest_to_compare(tests=in_groups)):
        untried.append(
            f"groups, which take at least {fewest} rows to be compared with single rows; got {len(asked)} with "
            f"max_rows={max_rows}"
        )
        sizes = sizes[:1]
    budget, cells = TokenBudget(limit=max_tokens), list[HintCell]()
    ways = product(sizes, dict.fromkeys(exemplars), dict.fromkeys(hints))
    # What a way costs is foreseen by those before it, and groups are asked for if single rows have told their tokens.
    waves = groupby(ways, key=itemgetter(0) if side_by_side and max_tokens is None else None)
    for _, wave in waves:
        trials = list[_Trial]()
        for group, k, mode in wave:
            way = task.replace(hints=mode, exemplars=k, group=group, set_level=level if mode == "hard" else None)
            prompts = way.prompt.batch(chosen)
            sent = sent_prompts(prompts, group)
            is_untold = bool(cells) and all(cell.tokens_a_row is None for cell in cells)
            if group > sizes[0] and (is_untold or len(sent) == len(prompts)):
                why_not = "the model does not tell its tokens" if is_untold else "no two prompts begin alike"
                untried.append(f"{setting_name(mode, k, group)}, since {why_not}")
                continue
            characters = characters_of(sent)
            if budget.is_exceeded_by(characters):
                expected = budget.tokens_of(characters)
                name = setting_name(mode, k, group)
                untried.append(f"{name} (about {expected:,} tokens, of which {budget.left:,} are left)")
                continue
            trials.append(_Trial(way, prompts))
        for (way, _), replies in zip(trials, _replies(trials, model, chosen, config, limits), strict=True):
            budget = budget.spend(replies.tokens, replies.characters)
            if not cells and replies.failed == len(asked):
                msg = f"The large model answered none of {len(asked)} rows; the first failure was {replies.error}"
                raise DSPlusError(msg)
            usd = replies.usd_per_1000(model_name)
            cells += measured(way, replies, rows, usd_per_1000=usd, fusion=fusion, seed=seed)
    if not cells:
        tried = "; ".join(untried)
        msg = f"Got max_tokens={max_tokens} but none of these can be tried with it: {tried}. Allow more, or fewer rows"
        raise InvalidInputError(msg)
    choice = best_way(cells)
    return HintSearch(
        cells=tuple(cells),
        best=choice.best,
        comparison=choice.comparison,
        rows=tuple(asked.tolist()),
        predictions=tuple(everything.predictions),
        small_accuracy=Estimate.of(rows.small_right.sum(), len(asked)),
        untried=tuple(untried),
    )


def _why_no_hard_hints(task: LabelTask, by_set: bool, level: float | None, coverage: float) -> str:
    """Why hard hints are of no use. Nothing if they are."""
    n = len(task.labels)
    if task.parser.takes_none_of_these:
        return f'whose "{NONE_OF_THESE}" is what a label or an alias is called'
    if not by_set and not task.strong_labels:
        return f"which prune nothing among {n} labels"
    if level == 1:
        return f"which have to offer all {n} labels to hold the true one in {share(coverage)} of these rows"
    return ""


class _Trial(NamedTuple):
    """A way to ask, and what it asks."""

    way: LabelTask
    prompts: list[Any]


def _replies(
    trials: list[_Trial], model: Any, records: list[Any], config: RunnableConfig | None, limits: Limits
) -> list[Replies]:
    """What came of each way to ask. Several of them are asked about at the same time."""

    def ask(trial: _Trial) -> Replies:
        return ask_about(trial.way, model, records, trial.prompts, config, limits)

    if len(trials) < 2:
        return [ask(trial) for trial in trials]
    found = AskEach(RunnableLambda(ask), trials, [{}] * len(trials)).call().outputs
    for output in found:
        if isinstance(output, Exception):
            raise output
    return found
