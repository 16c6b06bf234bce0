"""Measures a task split into subtasks against one prompt that asks for all of it, with a live large model.

    python tests/bench/triage.py reviews.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers answers.sqlite

From each review (`text,label,domain`): its domain, its sentiment, the complaint or praise as a verbatim quote, and a
one-sentence reply. Split, the domain and the sentiment are shunts of their own (small models fitted on 1,600 reviews,
thresholds tuned on 300 others), the quote is the sentence that the small model finds most typical of the sentiment, and
the large model writes the reply from these results alone. Counted on 300 further reviews.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.utils.json import parse_json_markdown
from langchain_openai import ChatOpenAI
from live import answers, arguments, chat_model, in_slices, small_encoder, spent, split_rows, versus
from reviews import INSTRUCTION, PROMPT, REPLY_BEGINS, SIZES
from rich.console import Console
from rich.table import Table

from dsplus_chains import (
    ConfidenceBranch,
    HintPromptBuilder,
    Keep,
    LabelParser,
    MapSubtask,
    SmallModelScorer,
    Subtask,
    SubtaskDecomposer,
    tune_threshold,
)
from dsplus_chains.documents.reduce import verbatim
from dsplus_chains.evaluation.subtask_report import report_subtasks

COUNTED = 300
ESCALATED = {"domain": 0.02, "sentiment": 0.12}
"""How much of each decision may go to the large model: chosen with the reply's tokens in mind, before any test row."""

MONOLITHIC = ChatPromptTemplate(
    [
        (
            "system",
            "Triage the product review below. Answer with one JSON object and nothing else, with these keys:\n"
            '"domain": "books" or "kitchen";\n'
            '"sentiment": "negative" or "positive";\n'
            '"quote": the sentence of the review that best shows the complaint or the praise, copied word for word;\n'
            '"reply": one sentence to the customer who wrote it.',
        ),
        ("human", "<input>\n{input}\n</input>"),
    ]
)
REPLY = ChatPromptTemplate(
    [
        ("system", "Write one sentence to the customer who wrote a product review."),
        ("human", "<known>\n{subtasks}\n</known>\n\nReply:"),
    ]
)
KEYS = {"domain": "domain", "sentiment": "label"}
"""Which column holds the truth."""
INSTRUCTIONS = {"domain": "What is this product review about?", "sentiment": INSTRUCTION}


def shunt(
    name: str, encoder: Any, rows: list[dict[str, str]], tuning: list[dict[str, str]], model: ChatOpenAI
) -> tuple[Any, Any]:
    """A small model and its chain, with a threshold from the tuning rows."""
    key, instruction = KEYS[name], INSTRUCTIONS[name]
    scorer = SmallModelScorer.fit([row["text"] for row in rows], [row[key] for row in rows], encoder=encoder)
    prompt = HintPromptBuilder(labels=scorer.labels, instruction=instruction, track_record=scorer.track_record)
    arm = prompt | model | LabelParser(labels=scorer.labels)
    scored = scorer.batch([row["text"] for row in tuning])
    share = 2 * ESCALATED[name]  # the least sure rows, more than could be deferred
    least_sure = np.argsort([record["prediction"].confidence for record in scored], kind="stable")
    numbers = sorted(least_sure[: round(share * len(scored))].tolist())
    told = in_slices(ConfidenceBranch(large=arm, threshold=None), [scored[n] for n in numbers], f"tuning, {name}")
    heard = dict(zip(numbers, zip(*answers(told), strict=True), strict=True))
    said, sure = zip(*(heard.get(n, (None, None)) for n in range(len(scored))), strict=True)
    tuned = tune_threshold(
        [record["prediction"] for record in scored],
        [row[key] for row in tuning],
        said,
        objective="max_escalation",
        max_escalation=ESCALATED[name],
        fusion="auto",
        large_confidences=sure,
    )
    branch = scorer | ConfidenceBranch(large=arm, threshold=tuned.threshold)
    return scorer, branch if tuned.fusion is None else branch | tuned.fusion


def read(text: str) -> dict[str, str]:
    """The fields of the monolithic answer; empty where it is no JSON object."""
    try:
        found = parse_json_markdown(text)
    except json.JSONDecodeError:
        return {}
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, "reviews").parse_args()
    train, tuning, test = split_rows(options.reviews, SIZES, options.seed)
    test = test[:COUNTED]
    texts = [row["text"] for row in test]
    model = chat_model(options, max_tokens=200)
    decides = chat_model(options, max_tokens=8, logprobs=True)
    _, domain = shunt("domain", "auto", train, tuning, decides)
    judge, sentiment = shunt("sentiment", small_encoder(options, PROMPT, REPLY_BEGINS), train, tuning, decides)
    plan = SubtaskDecomposer(
        subtasks=[
            Subtask(name="domain", run=domain),
            Subtask(name="sentiment", run=sentiment),
            MapSubtask(
                name="quote",
                split="sentences",
                run=judge,
                keep=Keep(top_k=1, label=lambda record: record["subtasks"]["sentiment"].value),
                reduce=verbatim,
                needs=("sentiment",),
            ),
        ],
        combine=REPLY | model.bind(max_tokens=60) | StrOutputParser(),
    )
    split = in_slices(plan, texts, "test, split into subtasks")
    whole = SubtaskDecomposer(
        subtasks=[Subtask(name="nothing", run=lambda _: None)], combine=MONOLITHIC | model | StrOutputParser()
    )
    at_once = in_slices(whole, texts, "test, one prompt for all")

    ours = [{name: result.value for name, result in record["subtasks"].items()} for record in split]
    theirs = [read(record["answer"]) for record in at_once]
    table = Table(title=f"{len(test)} test reviews, {options.model}, seed {options.seed}")
    for heading in ("", "split", "one prompt", "split against one prompt (95 %), better : worse"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, key in KEYS.items():
        right = [
            [found.get(name) == row[key] for found, row in zip(all_found, test, strict=True)]
            for all_found in (ours, theirs)
        ]
        table.add_row(f"{name} right", *(f"{np.mean(one):.1%}" for one in right), versus(*right))
    quoted = [
        [bool(found.get("quote")) and found["quote"] in text for found, text in zip(all_found, texts, strict=True)]
        for all_found in (ours, theirs)
    ]
    table.add_row("quote verbatim in the text", *(f"{np.mean(one):.1%}" for one in quoted), versus(*quoted))
    replies = [[bool(record["answer"].strip()) for record in split], [bool(found.get("reply")) for found in theirs]]
    table.add_row("a reply", *(f"{np.mean(one):.1%}" for one in replies), "")
    table.add_row(
        "tokens of the large model", f"{spent(split):,}", f"{spent(at_once):,}", f"{spent(split) / spent(at_once):.1%}"
    )
    Console(width=140).print(table)
    for report in report_subtasks(split):
        Console(width=140).print(report)
    for row, record, found in list(zip(test, split, theirs, strict=True))[:3]:
        known = {name: str(result) for name, result in record["subtasks"].items()}
        Console(width=140).print(
            {"review": row["text"], "split": {**known, "reply": record["answer"]}, "at once": found}
        )


if __name__ == "__main__":
    main()
