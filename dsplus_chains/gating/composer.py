"""`ModelComposer` asks, of several models, the one that is worth its price on an input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, InstanceOf
from typing_extensions import override

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.loading import as_encoder
from dsplus_chains.gating.composer_state import COMPOSER_STATE, composer_state, restore_composer
from dsplus_chains.gating.composing import ComposingRun
from dsplus_chains.gating.composition import (
    CompositionReport,
    fit_honesty,
    preference,
    report_composition,
    tradeoff_within,
)
from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.gating.models_on_offer import check_amount, check_on_offer
from dsplus_chains.gating.score_table import score_table
from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Begin, Completed, Configs, Flow, Manager, Tell, Work
from dsplus_chains.schema import InvalidInputError, ShuntRecord, TrainingDataError, first_copies, text_hash, what_came
from dsplus_chains.scoring.members.mixing import assign_folds
from dsplus_chains.scoring.score_model import ScoreModel
from dsplus_chains.scoring.training_examples import read_inputs

Floats = NDArray[np.float64]

FOLDS = 5
FEWEST = 50
"""Smallest number of queries that a composer is fitted on."""


def _models(value: Any) -> Any:
    if not isinstance(value, Mapping) or len(value) < 2:
        msg = f"Got models={what_came(value)} but expected a dict with two Runnables or more, by their names"
        raise ValueError(msg)
    return {str(name): coerce_to_runnable(model) for name, model in value.items()}


class ModelComposer(BatchRunnable[Any, Any]):
    """Asks one of several models for each input: the one with the best foreseen score less its weighed cost.

    No model is run to find that out. Texts are encoded once, and a regression foresees each model's score. The inputs
    of a chosen model are one batch. If a model fails on an input, the next best one stands in.

    It takes a text, or a dict that holds one under `input_key`. It returns the record with `answer`, `source` (the
    name of the model that has answered) and `choice`. A model that starts with a prompt gets its variables from the
    record. Any other gets the very object that the composer was called with.

    For each answered input the composer sends the event "dsplus_decision", as `ConfidenceBranch` does. It holds
    `source`, `model`, `expected` and `tradeoff`. No small model has answered, so `confidence`, `threshold` and `label`
    are None.

    `ModelComposer.fit` makes it.

    Args:
        models: The models, by name. Any Runnable that answers an input will do.
        costs: The cost of a call of each, in any one unit, such as dollars a thousand calls.
        encoder: Encoder of the texts.
        score_model: What foresees the scores.
        known_scores: The scores that it was fitted on, of shape [n, models].
        out_of_fold: Scores foreseen for these rows by fits that had not seen them.
        tradeoff: The score that a unit of cost must bring. 0 takes the best model whatever it costs. It can be
            configured for each call: `composer.configurable_fields(tradeoff=ConfigurableField(id="tradeoff"))`.
        input_key: The key of a dict under which the text is.

    Raises:
        pydantic.ValidationError: There are fewer than two models, or a keyword is unknown.
        InvalidInputError: The input is no text, an empty one, or a dict without the key.

    Source: Herd (arXiv 2310.19902) and Tryage (arXiv 2308.11601): each expert's worth is foreseen without running it.

    Example:
        >>> models = {"7b": small | parser, "70b": large | parser}  # doctest: +SKIP
        >>> composer = ModelComposer.fit(queries, scores, models=models, costs={"7b": 1, "70b": 8})  # doctest: +SKIP
        >>> composer.invoke("Name three prime numbers.")["source"]  # doctest: +SKIP
        '7b'
    """

    input_type: ClassVar[Any] = str | dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord

    models: Annotated[dict[str, Runnable[Any, Any]], BeforeValidator(_models)]
    costs: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    encoder: InstanceOf[Encoder]
    score_model: InstanceOf[ScoreModel]
    known_scores: InstanceOf[np.ndarray[Any, Any]]
    out_of_fold: InstanceOf[np.ndarray[Any, Any]]
    tradeoff: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    input_key: str = Field(default="input", min_length=1)

    @classmethod
    def fit(
        cls,
        queries: Sequence[str],
        scores: Any,
        *,
        models: Mapping[str, Any],
        costs: Mapping[str, float],
        encoder: str | Encoder | Embeddings = "auto",
        tradeoff: float = 0.0,
        seed: int = 0,
        device: str | None = None,
        input_key: str = "input",
    ) -> Self:
        """Learn from scored queries which model is good at what.

        Args:
            queries: The texts, or pairs of texts.
            scores: What each model got on each text. Higher is better. A dict or a data frame has one column a model. A
                list has one dict a text. An array has its columns in the order of `models`. A missing score means that
                the model was not tried there.
            models: The models, by name.
            costs: The cost of a call of each, by name.
            encoder: The encoder, or a name for it; see `SmallModelScorer.fit`.
            tradeoff: The score that a unit of cost must bring. `report` shows what each is worth.
            seed: Seed of all random draws.
            device: Device of the encoder. None takes the best one available.
            input_key: The key of a dict under which the text will be.

        Raises:
            TrainingDataError: There are too few texts, lengths differ, or a query is no text. Or there are fewer than
                two models, a model or a cost has no name, or a cost or the tradeoff is no number from 0 on.
        """
        names = check_on_offer(models, costs, tradeoff)
        try:
            texts = read_inputs(queries, may_be_empty=True)
        except InvalidInputError as error:
            raise TrainingDataError(str(error)) from error
        known = score_table(scores, names, n=len(texts))
        if len(texts) < FEWEST:
            msg = f"Got {len(texts)} scored texts but expected {FEWEST} or more"
            raise TrainingDataError(msg)
        used = as_encoder(encoder, device=device)
        vectors = used.encode(texts)
        copy_of = np.array(first_copies(map(text_hash, texts)))
        folds = assign_folds(np.zeros(len(texts), dtype=np.int64), FOLDS, seed=seed, copy_of=copy_of)
        unseen = np.empty_like(known)
        for fold in range(FOLDS):
            inside, outside = folds != fold, folds == fold
            unseen[outside] = ScoreModel.fit(vectors[inside], known[inside], seed=seed).predict(vectors[outside])
        return cls(
            models=dict(models),
            costs={name: float(costs[name]) for name in names},
            encoder=used,
            score_model=ScoreModel.fit(vectors, known, seed=seed),
            known_scores=known,
            out_of_fold=unseen,
            tradeoff=tradeoff,
            input_key=input_key,
        )

    def report(self, tradeoff: float | None = None) -> CompositionReport:
        """What the choice is worth on the rows that it was fitted on, out of fold.

        Args:
            tradeoff: The score that a unit of cost must bring. By default it is the composer's own.

        Raises:
            InvalidInputError: No text was scored with both the chosen model and the best single one. Or the tradeoff
                is no number from 0 on.
        """
        weight = self.tradeoff if tradeoff is None else tradeoff
        check_amount("tradeoff", weight)
        return report_composition(
            self.out_of_fold, self.known_scores, self._prices, names=list(self.models), tradeoff=weight
        )

    def within(self, cost: float) -> Self:
        """The same composer, with the tradeoff at which a call costs at most `cost` on average.

        The mean is that of the rows that it was fitted on, out of fold. Other inputs may cost more.

        Args:
            cost: The mean cost that is allowed, in the unit of `costs`.

        Raises:
            InfeasibleTargetError: Even the cheapest model costs more.
            InvalidInputError: The cost is no number from 0 on.
        """
        check_amount("cost", cost)
        return self.model_copy(update={"tradeoff": tradeoff_within(self.out_of_fold, self._prices, cost)})

    def save(self, path: str | Path) -> str:
        """Write the composer into a folder, with settings as JSON and arrays as safetensors, without pickle.

        Neither the models nor the encoder's weights are written. The folder holds the names of the models, and how to
        load the encoder.

        Args:
            path: The folder.

        Returns:
            The SHA-256 of `composer.json`, which holds that of the arrays. Keep it elsewhere, and give it to `load` as
            `expected_sha256`.
        """
        return COMPOSER_STATE.write(Path(path), *composer_state(self))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        models: Mapping[str, Any],
        expected_sha256: str | None = None,
        encoder: str | Encoder | Embeddings | None = None,
        device: str | None = None,
        allow_download: bool = False,
    ) -> Self:
        """Read a composer that `save` wrote. The arrays are compared with their hash, and nothing is unpickled.

        Args:
            path: The folder.
            models: The models, by the names that they had.
            expected_sha256: SHA-256 of `composer.json`. Without it, damage is noticed, but not an attack.
            encoder: The encoder, or where it is now. None: where it was at fitting.
            device: Device of the encoder. None takes the best one available.
            allow_download: Whether an encoder that the folder names may be fetched from the hub.

        Raises:
            BundleError: A file is missing, damaged, of another format, or not the expected one. The names of the models
                are others. Or the encoder is another one, or would have to be fetched.
        """
        return cls(
            **restore_composer(
                Path(path),
                models=models,
                expected_sha256=expected_sha256,
                encoder=encoder,
                device=device,
                allow_download=allow_download,
            )
        )

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        return get_unique_config_specs(spec for model in self.models.values() for spec in model.config_specs)

    @cached_property
    def _prices(self) -> Floats:
        return np.array([self.costs[name] for name in self.models])

    @cached_property
    def _honesty(self) -> tuple[float, float]:
        """How the foreseen score of the chosen model reads as what it will get."""
        chosen = preference(self.out_of_fold, self._prices, self.tradeoff)[:, 0]
        return fit_honesty(self.out_of_fold, self.known_scores, chosen)

    def _foresee(self, texts: list[str]) -> Floats:
        """The score of each model on each text. It is one encode."""
        return self.score_model.predict(self.encoder.encode(texts))

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        run = ComposingRun(self.models, inputs, run_manager, config, input_key=self.input_key)
        if texts := run.texts:
            foreseen = yield Work(self._foresee, (texts,))
            run.prefer(foreseen, preference(foreseen, self._prices, self.tradeoff), self._honesty)
        while groups := run.groups(kwargs):
            one_by_one = bool(config[0].get("max_concurrency"))  # a limit holds for all models together
            if one_by_one or len(groups) == 1:
                for group, ask in groups:
                    run.hear(group, (yield ask).outputs)
                continue
            for group, ask in groups:
                yield Begin(group, ask)
            left = len(groups)
            while left:
                for group, outcome in (yield Completed()):
                    run.hear(group, outcome.outputs)
                    left -= 1
        for record, manager in zip(run.results, run_manager, strict=True):
            if manager.handlers and not isinstance(record, Exception):
                yield Tell(manager, DECISION_EVENT, self._event(record))
        return run.results

    def _event(self, record: dict[str, Any]) -> dict[str, Any]:
        """The data of one row's "dsplus_decision"."""
        choice = record["choice"]
        told = {"model": choice.model, "expected": choice.expected, "tradeoff": self.tradeoff}
        return {"source": record["source"], "confidence": None, "threshold": None, "label": None, **told}
