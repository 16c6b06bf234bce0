"""Measures a structured answer field by field against one call for all fields, with a live large model.

    python tests/bench/structured.py reviews.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers kept.sqlite

From each review (`text,label,domain`): its domain, its sentiment, the complaint or praise as a verbatim quote, and a
one-sentence reply. The app is ``prompt | chat_model.with_structured_output(Review)``. Around it is `shunt(app,
fields=...)`: small models fitted on 1,600 reviews answer the domain and the sentiment, the quote is the sentence about
which the sentiment's model is surest, and the large model answers what is left. Where only the reply is left, its
prompt holds what is known instead of the review. The thresholds let the least sure share of 300 other reviews through
to the large model. No label of theirs is looked at. Counted on `--rows` further reviews. Every answer is kept in a
file, so a second run asks for little. A row whose answer never ends is wrong in all its fields, and is asked again
next time. So the rows where both answers ended are counted by themselves, too.

`--plain` takes MiniLM for both small models, in place of the hidden states of small language models. A weaker small
model should let more through; see `--share`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from live import AT_ONCE, arguments, chat_model, small_encoder, split_rows, versus
from openai import LengthFinishReasonError
from pydantic import BaseModel, Field
from reviews import PROMPT, REPLY_BEGINS, SIZES
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dsplus_chains import Keep, MapParts, Prediction, SmallModelScorer, shunt
from dsplus_chains.documents.reduce import verbatim
from dsplus_chains.schema import causes

ESCALATED = {"domain": 0.02, "sentiment": 0.12}
"""Share of the rows whose field goes to the large model: as in the bench of tasks split into subtasks."""
SLICE = 40
"""How many rows are begun before progress shows."""
KEYS = {"domain": "domain", "sentiment": "label"}
"""Which column holds the truth."""

SYSTEM = (
    "Triage the product review. Quote the sentence of the review that best shows the complaint or the praise, copied "
    "word for word. The reply is one short sentence to the customer who wrote the review. Answer in JSON."
)
ASK = ChatPromptTemplate([("system", SYSTEM), ("human", "<input>\n{input}\n</input>")])
WRITE = "Write one short sentence to the customer who wrote a product review. Answer in JSON."
REST = ChatPromptTemplate([("system", WRITE), ("human", "{sentiment} review of {domain}: {quote}")])


class Review(BaseModel):
    """What a product review says."""

    domain: Literal["books", "kitchen"]
    sentiment: Literal["negative", "positive"]
    quote: str = Field(description="A sentence of the review, word for word")
    reply: str = Field(description="One sentence to the customer")


def threshold_at(scorer: Any, texts: Sequence[str], share: float) -> float:
    """The confidence that all but the least sure share of the texts reach."""
    confidences = [record["prediction"].confidence for record in scorer.batch(list(texts))]
    return float(np.quantile(confidences, share, method="lower"))


def quoting(judge: Any) -> Any:
    """A small model whose answer is the sentence about which the judge is surest. It is always word for word."""
    surest = MapParts(split="sentences", run=judge, keep=Keep(top_k=1), reduce=verbatim)
    return surest | RunnableLambda(lambda found: Prediction(value=found.value, confidence=1.0))


def answered(chain: Any, inputs: Sequence[Any], title: str) -> list[Any]:
    """The record of each row, or the error of one whose answer never ended. Any other error is raised."""
    records = []
    for start in track(range(0, len(inputs), SLICE), title, console=Console(stderr=True)):
        rows = list(inputs[start : start + SLICE])
        for record in chain.batch(rows, {"max_concurrency": AT_ONCE}, return_exceptions=True):
            if isinstance(record, Exception) and cut_off(record) is None:
                raise record
            records.append(record)
    return records


def cut_off(error: Exception) -> LengthFinishReasonError | None:
    """The error of an answer that was cut off, if that is what an error comes from."""
    return next((cause for cause in causes(error) if isinstance(cause, LengthFinishReasonError)), None)


def tokens(records: Sequence[Any]) -> int:
    """Tokens of the large model. An answer that was cut off has cost some, too."""
    found = 0
    for record in records:
        if isinstance(record, Exception):
            cut = cut_off(record)
            usage = None if cut is None else cut.completion.usage
            found += usage.total_tokens if usage is not None else 0
        elif "large" in record and record["large"].usage is not None:
            found += record["large"].usage["total_tokens"]
    return found


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, "reviews")
    parser.add_argument("--rows", type=int, default=600, help="how many reviews are counted on")
    parser.add_argument("--fit", type=int, default=SIZES[0], help="how many reviews the small models are fitted on")
    parser.add_argument("--tune", type=int, default=SIZES[1], help="how many reviews the thresholds are from")
    parser.add_argument("--method", default="json_schema", help="as with_structured_output takes it")
    parser.add_argument(
        "--share",
        type=float,
        default=ESCALATED["sentiment"],
        help="share of the sentiments that the large model judges",
    )
    parser.add_argument("--plain", action="store_true", help="MiniLM for all small models")
    options = parser.parse_args()
    train, tuning, test = split_rows(options.reviews, (options.fit, options.tune, options.rows), options.seed)
    texts = [row["text"] for row in test]
    reads = "auto" if options.plain else small_encoder(options, PROMPT, REPLY_BEGINS)
    encoders = {"domain": "auto", "sentiment": reads}
    scorers: dict[str, Any] = {
        name: SmallModelScorer.fit([row["text"] for row in train], [row[key] for row in train], encoder=encoders[name])
        for name, key in KEYS.items()
    }
    tuned = [row["text"] for row in tuning]
    shares = {**ESCALATED, "sentiment": options.share}
    thresholds = {name: threshold_at(scorers[name], tuned, share) for name, share in shares.items()}

    app = ASK | chat_model(options, max_tokens=200).with_structured_output(Review, method=options.method)
    fields = {**scorers, "quote": quoting(scorers["sentiment"])}
    settings: dict[str, Any] = {"fields": fields, "with_record": True, "on_large_error": "small"}
    by_field = shunt(app, threshold={**thresholds, "quote": 0.0}, rest_prompt=REST, **settings)
    at_once = shunt(app, shadow=True, **settings)  # the app answers all, and its tokens are counted
    given = [{"input": text} for text in texts]
    ours = answered(by_field, given, "field by field")
    theirs = answered(at_once, given, "one call for all")

    table = Table(title=f"{len(test)} test reviews, {options.model}, seed {options.seed}")
    for heading in ("", "field by field", "one call", "field by field against one call (95 %), better : worse"):
        table.add_column(heading, justify="right" if heading else "left")

    ended = [
        not isinstance(one, Exception) and not isinstance(other, Exception)
        for one, other in zip(ours, theirs, strict=True)
    ]

    def add(name: str, is_right: Any) -> None:
        right = [
            np.array(
                [
                    not isinstance(one, Exception) and is_right(one["answer"], row)
                    for one, row in zip(records, test, strict=True)
                ]
            )
            for records in (ours, theirs)
        ]
        table.add_row(name, *(f"{one.mean():.1%}" for one in right), versus(*right))
        both = [one[ended] for one in right]
        table.add_row("  where both ended", *(f"{one.mean():.1%}" for one in both), versus(*both))

    for name, key in KEYS.items():
        add(f"{name} right", lambda answer, row, name=name, key=key: getattr(answer, name) == row[key])
    add("quote verbatim in the text", lambda answer, row: bool(answer.quote) and answer.quote in row["text"])
    add("a reply", lambda answer, row: bool(answer.reply.strip()))
    cut = [sum(isinstance(record, Exception) for record in records) for records in (ours, theirs)]
    table.add_row("answers that did not end", *map(str, cut), "")
    spent = [tokens(ours), tokens(theirs)]
    table.add_row("tokens of the large model", *(f"{count:,}" for count in spent), f"{spent[0] / max(1, spent[1]):.1%}")
    for name in fields:
        sources = ["large" if isinstance(record, Exception) else record["sources"][name] for record in ours]
        table.add_row(f"{name} by the large model", f"{sources.count('large') / len(ours):.1%}", "100.0%", "")
    Console(width=140).print(table)
    for row, one, other in list(zip(test, ours, theirs, strict=True))[:10]:
        told = [str(record) if isinstance(record, Exception) else record["answer"] for record in (one, other)]
        Console(width=140).print({"review": row["text"], "field by field": told[0], "one call": told[1]})


if __name__ == "__main__":
    main()
