"""Measures collaboration beside fine-tuning: DS+ with a language model as it is, against LoRA on the same rows.

    pip install peft
    python tests/bench/finetuning.py reviews.csv --rows 400 --instruction "Is this review positive or negative?"
    python tests/bench/finetuning.py clinc150_data_full.json --labels transfer balance pay_bill --rows 60

The rows are those of a table (`text,label`), or the split "train" of a JSON file such as clinc150's. They are cut into
as many parts as there are seeds. Each part is held out once, and of it `--test` rows count. From the other parts come
`--rows` to fit on and `--tuning` to choose by. The small model and LoRA are fitted on the same rows. Both get the same
tuning rows. By them LoRA's learning rate and epoch are chosen, and the chain's threshold, fusion and hints.

A language model alone answers with its likeliest label. It may favour some labels whatever it reads, so its mean over
the tuning rows is subtracted where this does better there. LoRA learns the very prompt that it is asked with later. The
arrow marks a chain whose hints are chosen by the tuning rows, in each part by itself. Differences are to the fine-tuned
model alone. Tokens are a share of what that takes. Tables are printed after each part, over all rows held out so far.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from heads import read
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from live import answers, spent, versus
from numpy.typing import NDArray
from remembering import Remembering
from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, LabelTask, SmallModelScorer, tune_threshold
from dsplus_chains.calibration.intervals import wilson_interval
from dsplus_chains.demo.fetch import default_cache_dir
from dsplus_chains.demo.weights import smollm2_folder
from dsplus_chains.encoding.language_model import LanguageModelEncoder
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.local.choices import normalise
from dsplus_chains.local.gguf import convert_gguf
from dsplus_chains.local.literal import LiteralTexts
from dsplus_chains.task import INSTRUCTION

SMALL, TUNED = "small model alone", "fine-tuned alone"
HINTS = ("none", "soft")
CHOSEN = "→"


def answer_logs(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
    """The log-probability of each answer after its prompt, both as tokens, in one forward pass."""
    longest = max(len(answer) for _, answer in rows)
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    seen, counted = torch.zeros_like(ids), torch.zeros((len(rows), longest), dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):  # padded on the left, so that all answers end at the same place
        ids[row, width - len(prompt) - len(answer) :] = torch.tensor([*prompt, *answer])
        seen[row, width - len(prompt) - len(answer) :] = 1
        counted[row, longest - len(answer) :] = True
    ids, seen, counted = (tensor.to(model.device) for tensor in (ids, seen, counted))
    logits = model(input_ids=ids, attention_mask=seen, use_cache=False, logits_to_keep=longest + 1).logits
    logs = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, -longest:, None])[..., 0]
    return torch.where(counted, logs, 0.0).sum(1)


class Chooser(BaseChatModel):
    """A language model that answers with its likeliest label. All prompts of a batch are read together."""

    model: Any
    tokenizer: Any
    labels: list[str]
    rows_at_once: int
    bias: list[float] | None = None
    known: dict[tuple[int, ...], list[float]] = {}  # noqa: RUF012  pydantic copies it for each model
    """The log-probability of each label, by prompt. A copy with a bias shares it."""

    @property
    def _llm_type(self) -> str:
        return "chooser"

    def prompt(self, messages: Sequence[BaseMessage]) -> list[int]:
        """A prompt as tokens, up to where the answer begins."""
        return LiteralTexts(self.tokenizer).encode(convert_to_openai_messages(messages))

    def answer(self, label: str) -> list[int]:
        """A label as tokens, with the end of the message."""
        return [*self.tokenizer.encode(label, add_special_tokens=False), self.tokenizer.eos_token_id]

    def foresee(self, prompts: Sequence[list[int]]) -> None:
        """Find out what is not known yet."""
        new = sorted({tuple(prompt) for prompt in prompts} - self.known.keys(), key=len)
        coded = [self.answer(label) for label in self.labels]
        for some in in_pieces(new, max(1, self.rows_at_once // len(coded))):
            with torch.inference_mode():
                logs = answer_logs(self.model, [(list(prompt), answer) for prompt in some for answer in coded])
            self.known.update(zip(some, logs.reshape(len(some), -1).tolist(), strict=True))

    def logs(self, prompts: Sequence[list[int]]) -> NDArray[np.float64]:
        """The log-probability of each label among the labels, a row a prompt."""
        self.foresee(prompts)
        bias = np.zeros(len(self.labels)) if self.bias is None else np.array(self.bias)
        return np.array([normalise(np.array(self.known[tuple(prompt)]) - bias) for prompt in prompts])

    def batch(self, inputs: Any, config: Any = None, **options: Any) -> Any:
        """Answer all, after reading their prompts together."""
        self.foresee([self.prompt(value.to_messages()) for value in inputs])
        return super().batch(inputs, config, **options)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        prompt = self.prompt(messages)
        (logs,) = self.logs([prompt])
        label = self.labels[int(logs.argmax())]
        tokens = len(self.answer(label))
        message = AIMessage(
            label,
            response_metadata={"choice_logprobs": dict(zip(self.labels, logs.tolist(), strict=True))},
            usage_metadata={
                "input_tokens": len(prompt),
                "output_tokens": tokens,
                "total_tokens": len(prompt) + tokens,
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


@dataclass(frozen=True)
class Rows:
    """Some rows, and the prompt without hints of each, as tokens."""

    texts: list[str]
    labels: list[str]
    prompts: list[list[int]]


@dataclass
class Counted:
    """What one way came to, one entry a row that was held out."""

    right: list[bool] = field(default_factory=list)
    deferred: list[bool] = field(default_factory=list)
    tokens: int = 0

    def add(self, records: Sequence[Any], labels: Sequence[str], tokens: int) -> None:
        """Add the records of rows, and the tokens that they have cost."""
        self.right += [record["answer"] == label for record, label in zip(records, labels, strict=True)]
        self.deferred += [record["source"] != "small" for record in records]
        self.tokens += tokens


def in_pieces(items: Sequence[Any], size: int) -> Iterator[Any]:
    """The items, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def worth(chat: Chooser, rows: Rows) -> tuple[float, float]:
    """How often a model alone is right, and the mean log-probability that it gives to the right label."""
    logs = chat.logs(rows.prompts)
    true = np.array([chat.labels.index(label) for label in rows.labels])
    return float((logs.argmax(1) == true).mean()), float(logs[np.arange(len(true)), true].mean())


def unbiased(chat: Chooser, tuning: Rows) -> Chooser:
    """The model without its preference for some labels, if it does better so on tuning rows."""
    bias = np.array([chat.known[tuple(prompt)] for prompt in tuning.prompts]).mean(0)
    other = chat.model_copy(update={"bias": bias.tolist()})
    return max(chat, other, key=lambda one: worth(one, tuning))


def fine_tuned(chat: Chooser, fit: Rows, tuning: Rows, options: argparse.Namespace, seed: int) -> tuple[Chooser, str]:
    """The model with the adapter that does best on tuning rows, and how that was made."""
    from peft import LoraConfig, get_peft_model

    best: tuple[tuple[float, float], Chooser, str] | None = None
    coded = [(prompt, chat.answer(label)) for prompt, label in zip(fit.prompts, fit.labels, strict=True)]
    for rate in options.rates:
        torch.manual_seed(seed)
        settings = LoraConfig(
            r=options.rank,
            lora_alpha=2 * options.rank,
            lora_dropout=0.05,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model: Any = get_peft_model(copy.deepcopy(chat.model), settings)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=rate)
        steps = options.epochs * -(-len(coded) // options.rows_a_step)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
        generator = np.random.default_rng(seed)
        for epoch in range(1, options.epochs + 1):
            model.train()
            for some in in_pieces([coded[row] for row in generator.permutation(len(coded))], options.rows_a_step):
                for piece in in_pieces(some, options.rows_at_once):
                    (-answer_logs(model, piece).sum() / len(some)).backward()
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
            model.eval()
            found = chat.model_copy(update={"model": model, "known": {}})
            found_worth = worth(found, tuning)
            if best is None or found_worth > best[0]:
                kept = found.model_copy(update={"model": copy.deepcopy(model)})
                best = found_worth, kept, f"learning rate {rate}, epoch {epoch} of {options.epochs}"
    assert best is not None
    return best[1], best[2]


def count(
    found: dict[str, Counted],
    scorer: SmallModelScorer,
    chats: dict[str, Chooser],
    task: LabelTask,
    tune: Rows,
    test: Rows,
) -> None:
    """Count each model alone and each chain on rows held out."""
    tuning, records = scorer.batch(tune.texts), scorer.batch(test.texts)
    alone = [{"answer": record["prediction"].label, "source": "small"} for record in records]
    found[SMALL].add(alone, test.labels, 0)
    for name, chat in chats.items():
        chains = {}
        for hints in HINTS:
            arm = task.replace(hints=hints).for_scorer(scorer).arm(chat)
            if hints == "none":
                all_asked = ConfidenceBranch(large=arm, threshold=None).batch(records)
                found[f"{name} alone"].add(all_asked, test.labels, spent(all_asked))
            told = ConfidenceBranch(large=arm, threshold=None).batch(tuning)
            said, sure = answers(told)
            tuned = tune_threshold(told, tune.labels, said, fusion="auto", large_confidences=sure)
            branch = ConfidenceBranch(large=arm, threshold=tuned.threshold)
            chain: Runnable[Any, Any] = branch if tuned.fusion is None else branch | tuned.fusion
            answered = chain.batch(records)
            chains[hints] = (tuned.chain_accuracy.value, answered)
            found[f"DS+, {name}, hints {hints}"].add(answered, test.labels, spent(answered))
        _, answered = max(chains.values(), key=lambda one: one[0])
        found[f"{CHOSEN} DS+, {name}"].add(answered, test.labels, spent(answered))


def show(title: str, found: dict[str, Counted]) -> None:
    """Print what was found, on the rows held out so far."""
    tuned = found[TUNED]
    table = Table(title=f"{title}, {len(tuned.right)} rows")
    for heading in ("", "right (95 %)", "against the fine-tuned alone (95 %), better : worse", "deferred", "tokens"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, way in found.items():
        around = wilson_interval(sum(way.right), len(way.right))
        table.add_row(
            name,
            f"{np.mean(way.right):.1%} ({around.low:.1%} to {around.high:.1%})",
            "" if way is tuned else versus(way.right, tuned.right),
            f"{np.mean(way.deferred):.1%}",
            f"{way.tokens / tuned.tokens:.1%}",
        )
    Console(width=140).print(table)


def measure(options: argparse.Namespace) -> None:
    """Measure all ways, and print them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_float32_matmul_precision("high")
    folder = smollm2_folder() if options.large is None else options.large
    if str(folder).endswith(".gguf"):
        folder = convert_gguf(folder, cache_dir=default_cache_dir())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(options.device).eval()
    texts, labels = read(options.data)
    cut = (
        (text[: options.characters], label.replace("_", " "))
        for text, label in zip(texts, labels, strict=True)
        if not options.labels or label in options.labels
    )
    kept = list(dict.fromkeys(cut))
    names = sorted({label for _, label in kept})
    task = LabelTask(labels=names, instruction=options.instruction, hints="none", retries=0)
    base = Chooser(model=model, tokenizer=tokenizer, labels=names, rows_at_once=options.rows_at_once)
    if options.encoder == "large":
        prompt = f"{options.instruction}\n\n{{text}}"
        inner: Any = LanguageModelEncoder.from_pretrained(str(folder), prompt=prompt, reply="", device=options.device)
    else:
        inner = SentenceEncoder.from_pretrained(options.encoder, device=options.device)
    encoder = Remembering(inner)

    def rows(numbers: NDArray[np.int64]) -> Rows:
        some = [kept[number] for number in numbers]
        prompts = task.prompt.batch([text for text, _ in some])
        told = [base.prompt(prompt.to_messages()) for prompt in prompts]
        return Rows([text for text, _ in some], [label for _, label in some], told)

    chains = [f"DS+, {name}, hints {hints}" for name in ("untuned", "fine-tuned") for hints in HINTS]
    chosen = [f"{CHOSEN} DS+, {name}" for name in ("untuned", "fine-tuned")]
    found = {name: Counted() for name in (SMALL, "untuned alone", TUNED, *chains, *chosen)}
    parts = np.array_split(np.random.default_rng(0).permutation(len(kept)), options.seeds)
    for seed, part in enumerate(parts):
        others = np.concatenate([numbers for other, numbers in enumerate(parts) if other != seed])
        if len(others) < options.rows + options.tuning:
            msg = f"Got {len(others)} rows beside those held out but expected {options.rows + options.tuning}"
            raise SystemExit(msg)
        fit, tune = (rows(some) for some in np.split(others[: options.rows + options.tuning], [options.rows]))
        test = rows(part[: options.test])
        began = time.perf_counter()
        scorer = SmallModelScorer.fit(fit.texts, fit.labels, encoder=encoder, seed=seed)
        fitted = time.perf_counter()
        tuned, how = fine_tuned(base, fit, tune, options, seed)
        ended = time.perf_counter()
        base.foresee(tune.prompts)
        count(found, scorer, {"untuned": unbiased(base, tune), "fine-tuned": unbiased(tuned, tune)}, task, tune, test)
        print(
            f"part {seed + 1}: small model fitted in {fitted - began:.0f} s, LoRA in {ended - fitted:.0f} s ({how}), "
            f"all counted in {time.perf_counter() - ended:.0f} s"
        )
        title = f"{seed + 1} of {options.seeds} parts held out, {options.rows} rows to fit on, {options.tuning} to tune"
        show(title, found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--instruction", default=INSTRUCTION, help="what is decided, in words")
    parser.add_argument("--labels", nargs="*", default=[], help="only rows with these labels; all by default")
    parser.add_argument("--large", help="folder, hub name or GGUF file of the language model; SmolLM2-135M by default")
    parser.add_argument(
        "--encoder", default="auto", help='of the small model; "large" reads the language model\'s states'
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=400, help="to fit on")
    parser.add_argument("--tuning", type=int, default=300)
    parser.add_argument("--test", type=int, default=1000, help="most rows that count, of each part")
    parser.add_argument("--seeds", type=int, default=3, help="how many parts are held out, at least two")
    parser.add_argument("--characters", type=int, default=1500, help="of a text that all models read")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-4, 1e-3], help="learning rates to choose from")
    parser.add_argument("--rank", type=int, default=16, help="of LoRA's matrices")
    parser.add_argument("--rows-a-step", type=int, default=16)
    parser.add_argument("--rows-at-once", type=int, default=64, help="in one forward pass")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds takes at least 2, since what one part counts is fitted on the others")
    measure(options)


if __name__ == "__main__":
    main()
