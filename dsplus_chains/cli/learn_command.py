"""`dsplus learn`."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dsplus_chains.cli.console import (
    AllowDownload,
    BundleFolder,
    Json,
    Pin,
    Quiet,
    Seed,
    say,
    text_columns,
    user_errors,
    write_json,
)
from dsplus_chains.cli.experience_options import (
    ExperienceFile,
    Gold,
    GoldLabel,
    GoldTexts,
    Images,
    images_beside,
    open_experience,
    read_gold,
)
from dsplus_chains.schema import InvalidInputError, TrainingDataError, share

if TYPE_CHECKING:
    from dsplus_chains.learning.promotion import Promotion
    from dsplus_chains.storage.bundle import Bundle
    from dsplus_chains.tables.table import Column

NOT_PROMOTED = 4
"""The exit code of `learn` if the new bundle was written, but should not replace the one before it."""


class Aim(StrEnum):
    """What learning is spent on."""

    CALLS = "calls"
    ACCURACY = "accuracy"


class Method(StrEnum):
    """How the small model learns."""

    REFIT = "refit"
    TWO_STAGE = "2cd"


def learn(
    bundle: BundleFolder,
    experience: ExperienceFile,
    out: Annotated[Path, typer.Option(metavar="BUNDLE2", help="Another folder, for the bundle that has learned.")],
    gold: Gold = None,
    gold_text: GoldTexts = None,
    gold_label: GoldLabel = "label",
    images: Images = None,
    aim: Annotated[
        Aim,
        typer.Option(help="calls: no less accurate than before, for fewer calls. accuracy: the same objective again."),
    ] = Aim.CALLS,
    method: Annotated[
        Method, typer.Option(help="refit: every member, on soft targets. 2cd: the paper's steps of the network alone.")
    ] = Method.REFIT,
    rationale_weight: Annotated[
        float, typer.Option(min=0, help="How much the network learns from the large model's reasons; 0 is not at all.")
    ] = 0.0,
    look: Annotated[
        int, typer.Option(min=1, help="How often these labelled rows have judged a new bundle, this time included.")
    ] = 1,
    seed: Seed = 0,
    sha256: Pin = None,
    allow_download: AllowDownload = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Teach the small model what the large one answered, and judge the new bundle.

    [bold]dsplus learn intents --experience intents.sqlite --out intents-2[/bold]: the labelled rows are the examples
    that the bundle keeps, and the true labels in the experience.

    [bold]dsplus learn intents --experience intents.sqlite --gold gold.csv --aim accuracy --out intents-2[/bold]

    [bold]dsplus learn digits --experience digits.sqlite --gold gold.csv --gold-text path --images photos --out
    digits-2[/bold]: from images. A bundle keeps none, so the labelled ones come from --gold.

    The new bundle is written in any case. The exit code is 0 if it should replace the old one, and 4 if not. Each look
    at the same labelled rows makes it harder (--look).
    """
    with user_errors():
        from dsplus_chains.learning.learner import learn as teach
        from dsplus_chains.learning.promotion import promote
        from dsplus_chains.storage.bundle import Bundle
        from dsplus_chains.storage.bundle_columns import check_pairs
        from dsplus_chains.storage.bundle_files import check_target
        from dsplus_chains.storage.outputs_apart import check_outputs

        if out.resolve() == bundle.resolve():
            msg = f"Got --out {out}, the bundle itself, but expected another folder; the old bundle judges the new one"
            raise InvalidInputError(msg)
        check_outputs(json, inputs=(experience, gold), bundles=(bundle, out))
        check_target(out.resolve())
        before = Bundle.load(bundle, expected_sha256=sha256, allow_download=allow_download)
        column = text_columns("--gold-text", gold_text) if gold_text else _own_columns(before)
        modality = before.scorer.modality
        before.scorer.check_reads(modality, pairs=gold is not None and not isinstance(column, str))
        if gold is not None:
            check_pairs(before.scorer, column, option="--gold-text")
        seen = images_beside(images, modality)
        labelled = read_gold(gold, column, gold_label, known=before.scorer.labels, modality=modality)
        with open_experience(experience) as store, nullcontext() if quiet else Console(stderr=True).status("Learning"):
            try:
                after = teach(
                    before,
                    store,
                    gold=labelled,
                    images=seen,
                    aim=aim.value,
                    method=method.value,
                    rationale_weight=rationale_weight,
                    seed=seed,
                )
            except (InvalidInputError, TrainingDataError) as error:
                raise InvalidInputError(_in_options(error, experience)) from error
        _tell(before, after)
        pin = after.save(out)
        say(f"The new bundle is {out} (SHA-256 of its manifest: {pin}).")
        try:
            found = promote(after, before, look=look)
        except InvalidInputError as error:
            told = _in_options(error, experience)
            say(f"It is not promoted, because it cannot be judged: {told}")
            if json is not None:
                write_json(json, {"promoted": False, "look": look, "reasons": [f"it cannot be judged: {told}"]})
            raise typer.Exit(NOT_PROMOTED) from error
        _judge(found)
        if json is not None:
            write_json(json, found.to_dict())
        if not found.promoted:
            raise typer.Exit(NOT_PROMOTED)


def _in_options(error: Exception, experience: Path) -> str:
    """What the library says of labelled rows, in the words of the command."""
    as_option = f"give them by --gold FILE, or take `dsplus bootstrap {experience}`, which needs none"
    told = str(error).replace("give gold=(texts, labels)", as_option)
    return told.replace("learn with gold= from", "learn with --gold from")


def _own_columns(bundle: Bundle) -> Column:
    """The columns that a small model of pairs was fitted on. Else "text" or "image", by what it reads."""
    key = bundle.scorer.input_key
    return key if bundle.scorer.pairs and not isinstance(key, str) else bundle.scorer.modality


def _tell(before: Bundle, after: Bundle) -> None:
    """Say what was learned from, and what the threshold is now."""
    learned: dict[str, Any] = after.metadata["learned"]
    say(
        f"Learned from {after.metadata['rows']} labelled rows, of which {learned['labelled_with_large_answer']} have "
        f"an answer of the large model, and from {learned['stream']} others, of which {learned['large_answers']} "
        "have one."
    )
    if learned["frozen"]:
        names = ", ".join(map(repr, learned["frozen"]))
        say(f"Its answers {names} taught nothing, because they are wrong too often on labelled rows.")
    if after.tuned is None:
        say("It has no threshold. A certificate holds for one small model only, so choose one with `dsplus tune`.")
    elif after.tuned is before.tuned:
        say(f"The threshold stays. There are too few labelled rows for another one. {after.tuned.meaning}")
    else:
        say(after.tuned.meaning)


def _judge(found: Promotion) -> None:
    """Say the verdict, with its numbers and reasons."""
    told = found.judgement
    say(
        f"On {told.n} labelled rows that neither model had seen, accuracy goes from {share(told.accuracy_before)} to "
        f"{share(told.accuracy_after)}. The log loss {told.change} (p = {told.p_value:.3g}; "
        f"{told.level:.3g} or less is needed)."
    )
    if found.promoted:
        say("It is promoted: nothing speaks against it.")
        return
    say(f"It is not promoted: {'; '.join(found.reasons)}.")
    if found.harmed:
        say(f"The labels that fall: {', '.join(map(repr, found.harmed))}.")
