"""`CodeTests` checks code by the tests that come with its task."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, cast

from pydantic import Field, InstanceOf
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import InvalidInputError, shown
from dsplus_chains.verifying.assertions import CutTest, UnjudgeableError, bound_names, cut_test, judged_here
from dsplus_chains.verifying.candidate_verdict import Check, Reader, Verdict, checked_record, read_from
from dsplus_chains.verifying.executor import Executor, Job, Outcome
from dsplus_chains.verifying.fenced_code import code_in
from dsplus_chains.verifying.monty_executor import MontyExecutor
from dsplus_chains.verifying.syntax_tree import syntax_tree


class _Plan(NamedTuple):
    """What is done with one candidate: its tests, each cut in two unless that cannot be done, and its setup."""

    tests: tuple[str, ...]
    cuts: tuple[CutTest | UnjudgeableError, ...]
    prelude: str
    code: str


class CodeTests(ComputingRunnable[Any, Verdict]):
    """A verifier that runs a candidate's code on tests, in a sandbox.

    It takes a record with a `candidate`, and returns a `Verdict` with one check for each test. The code is run as a
    module, so that a block under ``if __name__ == "__main__"`` is not. All candidates of a batch are one call of the
    executor. A second call judges the assertions that are more than a comparison with a literal. The candidate's
    sandbox never holds an assertion or an expected value; see `verifying.assertions`.

    A test that cannot be judged, or code that the sandbox cannot run, is "unsupported". Code is never run outside of a
    sandbox. Tests that a model has written are wrong too often to be of use, unless all solutions pass all of them.

    Args:
        executor: Sandbox for the code.
        tests: Key of the record, or a function of it, for the tests: a text, or a list of texts. Each has an assertion.
        prelude: The same, for code that stands before the candidate and the tests, such as the prompt's imports and
            helpers. A function without a body is left out. None means no code.
        entry_point: The same, for the name that the candidate defines. It is needed only where that is the name of a
            builtin or of something in the prelude.

    Raises:
        ExecutorError: No sandbox starts.
        InvalidInputError: The input has no `candidate`, or no tests under the key.

    Example:
        >>> verifier = CodeTests(tests="tests")
        >>> tests = ["assert double(2) == 4", "assert double(3) == 6"]
        >>> record = {"candidate": "def double(x): return x + 2", "tests": tests}
        >>> verdict = verifier.invoke(record)
        >>> verdict.score, verdict.report
        (0.5, 'assert double(3) == 6: failed (got 5)')
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = Verdict

    executor: InstanceOf[Executor] = Field(default_factory=MontyExecutor)
    tests: Reader
    prelude: Reader | None = None
    entry_point: Reader | None = None

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        plans = by_row(self._plan, inputs)
        sound = [plan for plan in plans if not isinstance(plan, Exception)]
        ran = self.executor.run([_asking(plan) for plan in sound])
        found = by_row(lambda pair: _Judged(*pair), zip(sound, ran, strict=True))
        left = [one for one in found if isinstance(one, _Judged) and one.open]
        if left:
            for one, outcomes in zip(left, self.executor.run([one.job() for one in left]), strict=True):
                one.close(outcomes)
        judged = iter(found)
        known = [plan if isinstance(plan, Exception) else next(judged) for plan in plans]
        return [one if isinstance(one, Exception) else one.verdict() for one in known]

    def _plan(self, record: Any) -> _Plan:
        checked_record(record)
        given = read_from(record, self.tests, "tests")
        tests = [given] if isinstance(given, str) else given
        if not isinstance(tests, Sequence) or not all(isinstance(test, str) for test in tests):
            msg = f"Got tests={shown(given)} but expected a text, or a list of texts"
            raise InvalidInputError(msg)
        tests = tuple(dict.fromkeys(test.strip() for test in tests))
        prelude = "" if self.prelude is None else without_stubs(str(read_from(record, self.prelude, "prelude") or ""))
        entry = None if self.entry_point is None else read_from(record, self.entry_point, "entry_point")
        names = {"known": bound_names(prelude), "entry_points": [] if entry is None else [str(entry)]}
        cuts: list[CutTest | UnjudgeableError] = []
        for number, test in enumerate(tests):
            try:
                cuts.append(cut_test(test, prefix=f"_v{number}_", **names))
            except UnjudgeableError as error:
                cuts.append(error)
        return _Plan(tests, tuple(cuts), prelude, without_main(code_in(record["candidate"])))


class _Judged:
    """The checks of one candidate, of which some may be open."""

    def __init__(self, plan: _Plan, outcomes: Sequence[Outcome]) -> None:
        self._plan = plan
        self._values: dict[str, Any] = {}
        self._checks: dict[int, Check] = {}
        self.open: list[int] = []
        rest = iter(outcomes)
        for number, cut in enumerate(plan.cuts):
            if isinstance(cut, UnjudgeableError):
                self._say(number, "unsupported", str(cut))
                continue
            asked = [next(rest) for _ in cut.asked]
            bad = next((one for one in asked if one.status != "value"), None)
            if bad is not None:
                self._say(number, "unsupported" if bad.status == "unsupported" else "failed", bad.detail)
                continue
            values = {name: one.value for name, one in zip(cut.names, asked, strict=True) if name is not None}
            self._values |= values
            held = [judged_here(one, values) for one in cut.judged] if _is_simple(cut) else [None]
            if False in held:
                self._say(number, "failed", self._got(cut))
            elif None in held:
                self.open.append(number)
            else:
                self._say(number, "passed")

    def job(self) -> Job:
        """What judges the open checks, with no code of the candidate in it."""
        steps = tuple(_truth(piece) for number in self.open for piece in self._cut(number).judged)
        return Job(setup=(self._plan.prelude,), steps=steps, values=self._values)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Take in what the job came to."""
        rest = iter(outcomes)
        for number in self.open:
            cut = self._cut(number)
            said = [(next(rest), _is_expression(piece)) for piece in cut.judged]
            unsupported = next((one for one, _ in said if one.status == "unsupported"), None)
            raised = next((one for one, _ in said if one.status not in {"value", "unsupported"}), None)
            if unsupported is not None:
                self._say(number, "unsupported", unsupported.detail)
            elif raised is not None:
                self._say(number, "failed", raised.detail)
            elif all(one.value is True for one, is_assertion in said if is_assertion):
                self._say(number, "passed")
            else:
                self._say(number, "failed", self._got(cut))

    def verdict(self) -> Verdict:
        return Verdict(checks=tuple(self._checks[number] for number in range(len(self._plan.tests))))

    def _say(self, number: int, status: Any, detail: str = "") -> None:
        self._checks[number] = Check(name=self._plan.tests[number], status=status, detail=detail)

    def _cut(self, number: int) -> CutTest:
        return cast("CutTest", self._plan.cuts[number])  # the others are not open

    def _got(self, cut: CutTest) -> str:
        return "got " + ", ".join(shown(self._values[name]) for name in cut.names if name is not None)


def _asking(plan: _Plan) -> Job:
    """What the candidate is asked, in its sandbox."""
    steps = tuple(piece for cut in plan.cuts if isinstance(cut, CutTest) for piece in cut.asked)
    return Job(setup=tuple(piece for piece in (plan.prelude, plan.code) if piece.strip()), steps=steps)


def _is_expression(piece: str) -> bool:
    body = syntax_tree(piece).body
    return len(body) == 1 and isinstance(body[0], ast.Expr)


def _is_simple(cut: CutTest) -> bool:
    return all(map(_is_expression, cut.judged))


def _truth(piece: str) -> str:
    return f"bool({piece})" if _is_expression(piece) else piece


def without_main(code: str) -> str:
    r"""Code as a module that is imported: without what it does only where it is the program.

    Args:
        code: Statements. Code that is no Python is returned as it is.

    Example:
        >>> without_main("def f(x): return x\nif __name__ == '__main__':\n    print(f(input()))\n")
        'def f(x):\n    return x'
    """
    try:
        body = syntax_tree(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    if not any(map(_is_main, body)):
        return code
    return "\n".join(ast.unparse(statement) for statement in body if not _is_main(statement))


def _is_main(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    return ast.unparse(statement.test) in {"__name__ == '__main__'", "'__main__' == __name__"}


def without_stubs(prelude: str) -> str:
    r"""A prelude without its functions that have no body, and without an end that is no whole statement.

    Example:
        >>> without_stubs("import math\ndef area(r):\n    '''The area of a circle.'''\n")
        'import math'
    """
    lines = prelude.splitlines()
    while lines:
        try:
            tree = syntax_tree("\n".join(lines))
            break
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            lines.pop()
    else:
        return ""
    return "\n".join(ast.unparse(statement) for statement in tree.body if not _is_stub(statement))


def _is_stub(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return all(
        isinstance(one, ast.Pass) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in statement.body
    )
