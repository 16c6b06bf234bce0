"""What the live benches share: a chat model behind an OpenAI-compatible server, and reviews split once by a seed."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from rich.console import Console
from rich.progress import track

from dsplus_chains import EncoderUnion, LanguageModelEncoder
from dsplus_chains.calibration.intervals import paired_difference_interval, sign_test
from dsplus_chains.demo.fetch import default_cache_dir
from dsplus_chains.demo.weights import smollm2_folder
from dsplus_chains.local.gguf import convert_gguf
from dsplus_chains.storage.answer_cache import SQLiteAnswerCache

Records = list[dict[str, Any]]

AT_ONCE = 4
"""How many requests the server gets at a time."""


def arguments(description: str | None, data: str, *, encoder: bool = True) -> argparse.ArgumentParser:
    """The options that live benches have; `data` is what the positional argument names.

    With `encoder`, there is the one that `small_encoder` reads.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(data)
    parser.add_argument("--base-url", required=True, help="an OpenAI-compatible server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--answers", required=True, help="file in which answers are kept: a second run asks nothing")
    parser.add_argument("--seed", type=int, default=0)
    if encoder:
        parser.add_argument(
            "--small",
            nargs="*",
            default=[],
            help="language models that the small model is made of beside SmolLM2-135M: hub names, folders, GGUF files",
        )
    return parser


def chat_model(options: argparse.Namespace, *, max_tokens: int, logprobs: bool = False) -> ChatOpenAI:
    """The large model, greedy, with every answer kept."""
    return ChatOpenAI(
        model=options.model,
        base_url=options.base_url,
        api_key="none",
        temperature=0,
        max_tokens=max_tokens,
        max_retries=5,
        timeout=300,
        cache=SQLiteAnswerCache(options.answers),
        **({"logprobs": True} if logprobs else {}),
    )


def small_encoder(options: argparse.Namespace, prompt: str, reply: str) -> EncoderUnion:
    """The hidden states of small language models that read the same message and are about to reply."""
    cache = default_cache_dir()
    folders = [convert_gguf(name, cache_dir=cache) if name.endswith(".gguf") else name for name in options.small]
    return EncoderUnion(
        encoders=[
            LanguageModelEncoder.from_pretrained(str(folder), prompt=prompt, reply=reply, dtype="bfloat16")
            for folder in [smollm2_folder(), *folders]
        ]
    )


def split_rows(path: str, sizes: Sequence[int], seed: int, *, longest: int | None = None) -> list[list[dict[str, str]]]:
    """The rows of a CSV file in parts of the given sizes, drawn once. Longer texts than `longest` are left out."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if longest is None or len(row["text"]) <= longest]
    order = np.random.default_rng(seed).permutation(len(rows))[: sum(sizes)]
    return [[rows[row] for row in part] for part in np.split(order, np.cumsum(sizes)[:-1])]


def in_slices(chain: Runnable[Any, Any], inputs: Sequence[Any], title: str, at_once: int = AT_ONCE) -> Records:
    """A record for each input, some at a time so that progress shows and what is answered is kept."""
    starts = track(range(0, len(inputs), at_once), title, console=Console(stderr=True))
    return [
        record
        for start in starts
        for record in chain.batch(list(inputs[start : start + at_once]), {"max_concurrency": at_once})
    ]


def answers(records: Records) -> tuple[list[Any], list[float | None]]:
    """What the large model said of each row, and how sure it was; None where it said no label."""
    heard = [record if record["source"] == "large" else None for record in records]
    return [r and r["answer"] for r in heard], [r and r["large"].confidence for r in heard]


def spent(records: Records) -> int:
    """Tokens of the large model."""
    return sum(record["large"].usage["total_tokens"] for record in records if "large" in record)


def versus(ours: Sequence[bool], theirs: Sequence[bool]) -> str:
    """The paired difference of two systems' shares of right answers with its 95 % interval, and the exact sign test."""
    wins = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    losses = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    interval = paired_difference_interval(wins, losses, len(ours))
    difference = (wins - losses) / len(ours)
    sign = sign_test(wins, losses)
    return f"{difference:+.2%} ({interval.low:+.2%} to {interval.high:+.2%}), {wins} : {losses}, p = {sign:.2g}"
