"""`dsplus fit`."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dsplus_chains.cli.console import (
    Data,
    Delimiter,
    Encoding,
    Image,
    Labels,
    Quiet,
    Seed,
    Texts,
    check_instruction,
    column_read,
    say,
    user_errors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsplus_chains.encoding.encoder import Encoder


class Head(StrEnum):
    """The network of the small model."""

    MLP = "mlp"
    MAJORITY_KERNELS = "majority_kernels"
    PANGU_PI = "pangu_pi"
    PROTOTYPED_EXPERTS = "prototyped_experts"


def fit(
    data: Data,
    label: Labels,
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder for the bundle. It replaces an earlier bundle.")],
    text: Texts = None,
    image: Image = None,
    seed: Seed = 0,
    encoder: Annotated[
        str, typer.Option(metavar="NAME|PATH", help='The small model\'s encoder: "auto", a hub name, or a folder.')
    ] = "auto",
    head: Annotated[
        Head, typer.Option(help="The small model's network. tests/bench/README.md tells what each is worth.")
    ] = Head.MLP,
    copies: Annotated[int, typer.Option(min=1, help="Number of such networks. Their logits are averaged.")] = 1,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Make a small model that scores much faster on a processor. Its encoder has 8-bit integers, with the "
            "extra `fast`. What its lexical model is sure of is not encoded.",
        ),
    ] = False,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="A prompt that contains {text}. With it, --encoder names a language model. This model reads each text "
            "inside the prompt. The small model learns from its hidden states."
        ),
    ] = None,
    reply: Annotated[
        str | None, typer.Option(help="With --prompt: how the reply begins, if the language model is tuned for chat.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="What to decide, in your own words. The large model will read it.")
    ] = None,
    descriptions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the labels mean, for the large model. A JSON object by label."),
    ] = None,
    examples: Annotated[
        bool, typer.Option(help="Keep the training texts in the bundle, to show some to the large model.")
    ] = True,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    quiet: Quiet = False,
) -> None:
    """Fit a small model on labelled examples, and save it as a bundle.

    [bold]dsplus fit --data train.csv --text text --label label --out intents[/bold]

    [bold]dsplus fit --data train.parquet --text body --label topic --out topics --encoder BAAI/bge-small-en-v1.5
    --instruction "Which topic is this article about?" --descriptions topics.json[/bold]

    [bold]dsplus fit --data reviews.csv --text text --label label --out sentiment
    --encoder HuggingFaceTB/SmolLM2-135M-Instruct --prompt "Review: {text} Is it negative or positive?"
    --reply "The sentiment is"[/bold]

    [bold]dsplus fit --data digits.csv --image path --label digit --out digits --encoder
    sentence-transformers/clip-ViT-B-32[/bold]

    [bold]dsplus fit --data graded.csv --text question --text document --label relevant --out grader[/bold]: on pairs of
    texts. The bundle remembers both columns, so later commands need no --text.

    In CSV and TSV files, labels are integers if every label is written as an integer. Otherwise they are strings.
    """
    with user_errors():
        from dsplus_chains.schema import InvalidInputError
        from dsplus_chains.storage.bundle_files import check_target
        from dsplus_chains.storage.outputs_apart import check_outputs
        from dsplus_chains.tables.reading import read_table

        column, modality = column_read(text, image)
        check_instruction(instruction)
        check_target(out.resolve())
        check_outputs(inputs=(data, descriptions), bundles=[out])
        table = read_table(data, delimiter=delimiter, encoding=encoding)
        texts, labels = table.texts(column, modality=modality), table.labels(label)
        meanings = None if descriptions is None else _descriptions(descriptions, labels)
        if prompt is None and reply is not None:
            msg = f"Got --reply {reply!r} without --prompt but expected both, or neither"
            raise InvalidInputError(msg)
        if prompt is not None and modality == "image":
            msg = f"Got --prompt {prompt!r} with --image {image!r} but expected one of them; a prompt is about a text"
            raise InvalidInputError(msg)
        if prompt is not None and encoder == "auto":
            msg = "Got --prompt without --encoder but expected a language model too: a hub name, or a folder"
            raise InvalidInputError(msg)
        where = Path(encoder)
        encoder = str(where.resolve()) if where.is_dir() else encoder
        started = time.perf_counter()
        with nullcontext() if quiet else Console(stderr=True).status(f"Fitting on {len(texts)} rows"):
            from dsplus_chains.storage.bundle import Bundle

            settings: dict[str, Any] = {"instruction": instruction, "descriptions": meanings}
            bundle = Bundle.fit(
                texts,
                labels,
                modality=modality,
                encoder=encoder if prompt is None else _language_model(encoder, prompt, reply),
                head=head.value,
                copies=copies,
                model="fast" if fast else "auto",
                keep_examples=examples,
                seed=seed,
                input_key="input" if isinstance(column, str) else column,
                metadata={"file": data.name, "encoder": encoder},
                **{name: value for name, value in settings.items() if value is not None},
            )
            pin = bundle.save(out)
        seconds = time.perf_counter() - started
        say(f"Fitted on {len(texts)} rows with {len(bundle.scorer.labels)} labels in {seconds:.1f} s.")
        if bundle.scorer.summary:
            say(bundle.scorer.summary)
        say(f"The bundle is {out} (SHA-256 of its manifest: {pin}).")


def _language_model(name: str, prompt: str, reply: str | None) -> Encoder:
    from dsplus_chains.encoding.language_model import LanguageModelEncoder

    return LanguageModelEncoder.from_pretrained(name, prompt=prompt, reply=reply)


def _descriptions(path: Path, labels: Sequence[Any]) -> dict[Any, str]:
    """The descriptions of labels in a JSON file.

    Raises:
        ValueError: The file is not a JSON object of texts, or it describes something that is no label.
    """
    from dsplus_chains.schema import label_reader
    from dsplus_chains.tables.table_error import TableError

    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        msg = f"{path}: unreadable as JSON ({error})"
        raise TableError(msg) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        msg = f"{path}: got something else but expected a JSON object, {{label: description}}"
        raise TableError(msg)
    read = label_reader(list(dict.fromkeys(labels)))
    described = {read(name): text for name, text in found.items()}
    if None in described:
        strange = next(name for name in found if read(name) is None)
        msg = f"{path}: got a description of {strange!r} but expected one of the labels in the data"
        raise TableError(msg)
    return described
