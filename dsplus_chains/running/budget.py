"""`Budget`: no more than so many tokens or dollars for a large model, however many rows ask at once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, Literal

from dsplus_chains.running.budget_report import BudgetReport, budget_report
from dsplus_chains.running.ledger import Call, Ledger
from dsplus_chains.running.prices import price
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import BudgetError, WiringError, check_choice, is_number, shown


class Budget:
    """A limit on what a large model may cost. All runs of all chains that hold it share it.

    Each call reserves before it is made. It reserves the estimated tokens of its prompt, and as many tokens as its
    answer may have. It settles by what the provider reports. A call is made only if its prompt fits into what is
    neither spent nor reserved. So the budget is overspent by no more than the answer of one call. Without a report, the
    text is counted.

    Rows are asked side by side as long as all of them fit for sure. Others wait until calls have settled. The first
    call goes alone, because it shows how many tokens a prompt really has. An answer from LangChain's cache costs
    nothing. A failed call costs what it has said. One that timed out costs its prompt and the longest answer so far.

    It hears calls of LangChain's chat models and completion models, however they are called. An arm that makes none is
    asked about one row after the other. Once the budget is spent, no row is asked about, not even for an answer that
    LangChain's cache holds.

    Args:
        max_usd: Largest price in US dollars, by the price list of the library `genai-prices`.
        max_tokens: Largest number of tokens, of prompts and answers together.
        per: With "run" the limit is for all that this budget, or its file, has ever counted. With "day" it is for each
            day of UTC.
        spent: With "small" the small model's answer stands in once nothing is left. `source` is then "fallback", and
            `error` gives the reason. With "raise" a `BudgetError` is raised for that row.
        path: An SQLite file that several processes share, and that outlives them. None counts in this process alone.
        output_tokens: Tokens of an answer, for models that are called without a `max_tokens`. If one has given a longer
            answer, that counts.
        prices: US dollars for a million tokens of prompts, and of answers, by model. It comes before the price list.
        clock: Seconds since 1970, for tests.

    Raises:
        ValueError: There is no limit, or a value is out of its bounds.
        InvalidInputError: The file cannot be opened.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from dsplus_chains import Prediction, data_shunt
        >>> budget = Budget(max_tokens=100, output_tokens=10)
        >>> chain = data_shunt(
        ...     lambda text: Prediction(label="ham", confidence=0.5),
        ...     FakeListChatModel(responses=["spam"]),
        ...     labels=["spam", "ham"],
        ...     instruction="Spam?",
        ...     hints="none",
        ...     threshold=0.9,
        ...     budget=budget,
        ... )
        >>> [record["source"] for record in chain.batch(["win a prize", "win two prizes", "win three prizes"])]
        ['large', 'fallback', 'fallback']
        >>> budget.report().by_arm["large"].rows
        1
    """

    def __init__(
        self,
        *,
        max_usd: float | None = None,
        max_tokens: int | None = None,
        per: Literal["run", "day"] = "run",
        spent: Literal["small", "raise"] = "small",
        path: str | Path | None = None,
        output_tokens: int = 1024,
        prices: Mapping[str, tuple[float, float]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        limits = [limit for limit in (max_usd, max_tokens) if limit is not None]
        if not limits or not all(is_number(limit, least=0) and limit < inf for limit in limits):
            got = f"max_usd={shown(max_usd)}, max_tokens={shown(max_tokens)}"
            msg = f"Got {got} but expected a limit of 0 or more, or both; give numbers"
            raise ValueError(msg)
        check_choice("per", per, ("run", "day"))
        check_choice("spent", spent, ("small", "raise"))
        if not is_number(output_tokens, least=1):
            msg = f"Got output_tokens={shown(output_tokens)} but expected a number of at least 1"
            raise ValueError(msg)
        if prices is not None and not (isinstance(prices, Mapping) and all(map(_is_price, prices.values()))):
            msg = f"Got prices={shown(prices)} but expected a dict of pairs by model, such as {{'mine': (0.15, 0.6)}}"
            raise ValueError(msg)
        self.max_usd = max_usd
        self.max_tokens = max_tokens
        self.per = per
        self.spent = spent
        self.path = None if path is None else Path(path)
        self.output_tokens = output_tokens
        self.prices = dict(prices or {})
        self._clock = clock
        most = (inf if max_tokens is None else max_tokens, inf if max_usd is None else max_usd)
        self.ledger = Ledger(self.path, most, clock)
        """What is spent and reserved."""

    @property
    def period(self) -> str:
        """What the limit is for now: "run", or a day of UTC."""
        return "run" if self.per == "run" else datetime.fromtimestamp(self._clock(), UTC).date().isoformat()

    def report(self) -> BudgetReport:
        """What this run or this day has cost, by arm and by model, and what the large model alone would have."""
        return budget_report(self.ledger, self.period)

    def reset(self) -> None:
        """Forget what is spent. Calls under way stay reserved."""
        self.ledger.forget()

    def count(self, rows: Sequence[tuple[str, bool, int, float | None]]) -> None:
        """Count answered rows for the report: source, whether a model was asked, tokens and price of each."""
        with self.writing(needed=False):
            self.ledger.count(self.period, rows)

    def expected(self, model: str, base: int, limit: int | None) -> Call:
        """What a call may cost at most.

        Args:
            model: Its name.
            base: Estimated tokens of its prompt.
            limit: The largest number of tokens of its answer, if the call sets one.

        Raises:
            WiringError: The budget is in dollars, and no price of the model is known.
        """
        seen = self.ledger.seen(model)
        prompt, answer = seen.prompt(base), limit or max(self.output_tokens, seen.output)
        call = self.paid(model, {"input_tokens": prompt, "output_tokens": answer}, base=base)
        if self.max_usd is not None and call.usd is None:
            msg = (
                f"Got a budget of {self.max_usd} US dollars, but no price is known for the model {model!r}. Give "
                "Budget(prices={name: (prompt, answer)}), in dollars for a million tokens, or install the extra "
                "`report`, or limit max_tokens"
            )
            raise WiringError(msg)
        return call

    def paid(self, model: str, usage: Mapping[str, Any], *, base: int = 0) -> Call:
        """What a call has cost, by its tokens."""
        prompt, answer = int(usage["input_tokens"]), int(usage.get("output_tokens") or 0)
        usd, prompt_usd = self._usd(model, usage), self._usd(model, {"input_tokens": prompt, "output_tokens": 0})
        return Call(model, prompt, answer, usd, prompt_usd, base)

    def refusal(self, needed: Call | None = None, *, busy: bool = False) -> BudgetError:
        """Why a row, or a call of it, is not made."""
        spent, reserved = self.ledger.committed(self.period)
        told = []
        if self.max_tokens is not None:
            held = f" and {reserved.tokens:,} reserved" if reserved.tokens and (busy or needed is None) else ""
            told.append(f"{spent.tokens:,} of {self.max_tokens:,} tokens are spent{held}")
        if self.max_usd is not None:
            held = f" and ${reserved.usd:,.4f} reserved" if reserved.usd and (busy or needed is None) else ""
            told.append(f"${spent.usd:,.4f} of ${self.max_usd:,.4f} are spent{held}")
        more = "" if needed is None else f"; a prompt of about {needed.input:,} tokens does not fit"
        return BudgetError(f"not asked, since {' and '.join(told)}{more}", spent=self.spent, busy=busy)

    @contextmanager
    def writing(self, *, needed: bool) -> Iterator[None]:
        """One write into the file. Without one that is needed, nothing is asked. What fails after an answer is told.

        What cannot be settled stays reserved, so that nothing is spent twice.

        Raises:
            BudgetError: The file cannot be written, and the write is needed.
        """
        try:
            yield
        except sqlite3.Error as error:
            if needed:
                msg = f"not asked, since the budget {str(self.path)!r} cannot be written ({error})"
                raise BudgetError(msg, spent=self.spent) from error
            tell_once(f"The budget {str(self.path)!r} cannot be written ({error})", "budget", str(self.path))

    def close(self) -> None:
        """Close the file, which has everything."""
        self.ledger.close()

    def _usd(self, model: str, usage: Mapping[str, Any]) -> float | None:
        own = self.prices.get(model)
        if own is not None:
            return float(usage["input_tokens"] * own[0] + usage["output_tokens"] * own[1]) / 1e6
        return price([usage], model).usd

    def __getstate__(self) -> dict[str, Any]:
        """Its settings alone. A copy shares the file, if there is one, and counts anew elsewhere."""
        names = ("max_usd", "max_tokens", "per", "spent", "path", "output_tokens", "prices")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Budget.__init__(self, **state)

    def __eq__(self, other: object) -> bool:
        """Whether the settings are the same."""
        return isinstance(other, Budget) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        """By the settings that can be hashed."""
        return hash((self.max_usd, self.max_tokens, self.per, self.spent, self.path, self.output_tokens))


def _is_price(price: Any) -> bool:
    """Whether it is a price of prompts and one of answers."""
    return isinstance(price, (tuple, list)) and len(price) == 2 and all(is_number(part, least=0) for part in price)
