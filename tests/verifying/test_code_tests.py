"""Tests are cut in two, and judged away from the code that they test."""

from __future__ import annotations

import pytest
from clock import at_most
from fakes import Recording

from dsplus_chains import VerifiedScorer
from dsplus_chains.verifying import CodeTests, MontyExecutor, UnsafeSubprocessExecutor
from dsplus_chains.verifying.assertions import UnjudgeableError, cut_test, judged_here
from dsplus_chains.verifying.code_tests import without_stubs
from dsplus_chains.verifying.fenced_code import code_in


class Counted(MontyExecutor):
    """Keeps what it is asked to run."""

    def run(self, jobs):
        ASKED.append(list(jobs))
        return super().run(jobs)


ASKED = []


@pytest.fixture(autouse=True)
def nothing_asked():
    ASKED.clear()


@pytest.mark.parametrize(
    ("test", "asked", "judged"),
    [
        ("assert f(1) == 2", ["f(1)"], ["_v0 == 2"]),
        ("assert 2 == f(1)", ["f(1)"], ["2 == _v0"]),
        ("assert not f(1), 'no'", ["f(1)"], ["not _v0"]),
        ("assert f(f(1)) == f(2)", ["f(f(1))", "f(2)"], ["_v0 == _v1"]),
        ("assert set(f(1)) == set([1])", ["set(f(1))"], ["_v0 == set([1])"]),
        ("assert all(f(1)) == True", ["f(1)"], ["all(_v0) == True"]),
        ("assert isinstance(f(1), int)", ["f(1)"], ["isinstance(_v0, int)"]),
        ("assert S(1).push(2).top[0] == 2", ["S(1).push(2).top[0]"], ["_v0 == 2"]),
        ("r, e = f(1), 2\nassert r == e", ["r = f(1)", "r"], ["e = 2", "_v1 == e"]),
        ("def check(c):\n    assert c(1) == 2\ncheck(c=f)", ["f(1)"], ["_v0 == 2"]),
        ("assert f(1).startswith('a')", ["f(1)"], ["_v0.startswith('a')"]),
        ("assert f(1).lower().isalpha()", ["f(1).lower()"], ["_v0.isalpha()"]),
        ("r = f(1)\nassert r.issubset({1})", ["r = f(1)", "r"], ["_v1.issubset({1})"]),
        ("import math\nassert math.isclose(f(1), 2)", ["import math", "f(1)"], ["import math", "math.isclose(_v1, 2)"]),
        ("assert math.isclose(f(1), 2)", ["import math", "f(1)"], ["import math", "math.isclose(_v1, 2)"]),
        ("assert abs(f(1) - 2) < 1e-6", ["f(1)"], ["abs(_v0 - 2) < 1e-06"]),
        ("x = [2, 1]\nf(x)\nassert x == [1, 2]", ["x = [2, 1]", "_vsaid = f(x)", "x"], ["_v2 == [1, 2]"]),
        ("y = [1, 2]\nassert f(1) == y", ["f(1)"], ["y = [1, 2]", "_v0 == y"]),
        ("s = S()\nt = s\nassert t.n == 1", ["s = S()", "t = s", "t.n"], ["_v2 == 1"]),
        ("def check(c):\n    assert c(1) == 2\ncheck(f)", ["f(1)"], ["_v0 == 2"]),
        ("x = 5\nassert f(x) == 6", ["x = 5", "f(x)"], ["x = 5", "_v1 == 6"]),
        ("a = [2]\na.append(1)\nb = a\nassert f(b) == 3", ["a = [2]", "_vsaid = a.append(1)", "b = a", "f(b)"], None),
        ("x = 5\ne = x + 1\nassert f(x) == e", ["x = 5", "f(x)"], ["x = 5", "e = x + 1", "_v1 == e"]),
        ("def sq(x):\n    return x * x\nassert f(sq) == 4", ["def sq(x):\n    return x * x", "f(sq)"], None),
        ("def n(g):\n    return len(g)\nassert n(f(1)) == 4", ["f(1)"], None),
        ("a = [2]\nr = f(a[0])\nassert r == 3", ["a = [2]", "r = f(a[0])", "r"], ["a = [2]", "_v2 == 3"]),
        ("assert sorted(f(1), key=lambda v: -v) == [2]", ["sorted(f(1), key=lambda v: -v)"], ["_v0 == [2]"]),
        ("assert {f(1): 2}[3] in [x for x in (1, 2)]", ["f(1)"], ["{_v0: 2}[3] in [x for x in (1, 2)]"]),
    ],
)
def test_cuts(test, asked, judged):
    cut = cut_test(test)
    assert list(cut.asked) == asked
    assert judged is None or list(cut.judged) == judged


@pytest.mark.parametrize(
    "test",
    [
        "import random\nxs = [random.random()]\nassert f(xs) == sorted(xs)",
        "cases = [(1, 2)]\nassert f(cases[0][0]) == cases[0][1]",
        "cases = [(1, 2)]\nr = f(cases[0][0])\nassert r == cases[0][1]",
        "given, wanted = zip((1, 2), (3, 4))\nr = f(given[0])\nassert r == wanted[0]",
        "f(1)",
        "assert f(",
        "for x in (1, 2):\n    assert f(x)",
        "assert all(f(x) for x in (1, 2))",
        "assert any(f(sorted(x, key=lambda x: x)) for x in (1, 2))",
        "x = 1",
        "",
        "\0",
    ],
)
def test_what_cannot_be_cut(test):
    with pytest.raises(UnjudgeableError):
        cut_test(test)


@pytest.mark.parametrize(
    "test",
    [
        "xs = [3, 1, 2]\nassert f(xs) == [1, 2, 3]",
        "import random\nrandom.seed(0)\nxs = [random.random() for _ in range(5)]\nassert len(f(xs)) == 5",
        "class Box(list):\n    def put(self, x):\n        self.append(x)\nb = Box()\nb.put(2)\nassert f(b) == [2]",
        "'A docstring.'\nprint('testing')\nassert len(f([2, 1])) == 2",
        "def check(candidate):\n    xs = [2, 1]\n    assert candidate(xs) == [1, 2]\ncheck(f)",
        "def test_one():\n    xs = [2, 1]\n    assert f(xs) == [1, 2]\ndef test_two():\n    assert f([]) == []",
    ],
)
def test_a_test_may_make_the_arguments_before(test):
    for executor in (MontyExecutor(), UnsafeSubprocessExecutor(workers=1)):
        right = verdict("def f(xs): return sorted(xs)", test, executor=executor)
        assert right.passed or "unsupported" in right.report
        assert not verdict("def f(xs): return 7", test, executor=executor).passed
    assert right.passed


def test_a_check_that_nothing_calls_is_called_with_the_entry_point():
    """The columns of HumanEval."""
    record = {
        "prompt": 'import math\n\n\ndef root(n: int) -> int:\n    """Largest whole root."""\n',
        "test": "METADATA = {'dataset': 'test'}\n\n\ndef check(candidate):\n    assert candidate(10) == 3, 'ten'\n"
        "    assert candidate(16) == 4\n    assert True, 'by hand'\n",
        "entry_point": "root",
    }
    checker = CodeTests(tests="test", prelude="prompt", entry_point="entry_point")
    right = record | {"candidate": "import math\ndef root(n):\n    return math.isqrt(n)"}
    wrong = record | {"candidate": "def root(n):\n    return 3"}
    assert [one.passed for one in checker.batch([right, wrong])] == [True, False]


@pytest.mark.parametrize("test", ['__name__ == "__main__"', "'__main__' == __name__", '(__name__ == "__main__")'])
def test_a_candidate_is_no_program(test):
    code = f"def f(x): return x\nif {test}:\n    print(f(int(input())))\n"
    for executor in (MontyExecutor(), UnsafeSubprocessExecutor(workers=1)):
        assert verdict(code, "assert f(1) == 1", executor=executor).passed
        assert not verdict(code, "assert f(1) == 2", executor=executor).passed


def test_what_a_statement_returns_need_not_be_plain():
    stack = "class Stack:\n    n = 0\n    def push(self, x):\n        self.n += x\n        return self"
    assert verdict(stack, "s = Stack()\ns.push(1)\nassert s.n == 1").passed


def test_a_candidate_changes_no_expected_value():
    cheat = "def f(xs):\n    xs.clear()\n    return []"
    test = "xs = [3, 1]\nassert f(xs) == sorted(xs)"
    assert not verdict(cheat, test).passed
    assert verdict("def f(xs):\n    xs.sort()\n    return xs", test).passed


def test_names_of_the_prelude_and_builtins_are_not_the_candidates():
    assert cut_test("assert near(sum([1]), f(1))", known=["near"]).asked == ("f(1)",)
    assert cut_test("assert sum(1, 2) == 3", entry_points=["sum"]).asked == ("sum(1, 2)",)


@pytest.mark.parametrize(
    ("expression", "value", "held"),
    [
        ("_v0 == 2", 2.0, True),
        ("_v0 != 2", 2, False),
        ("not _v0", [], True),
        ("_v0", 3, True),
        ("_v0 == (1, -2)", [1, -2], False),
        ("_v0 is None", None, None),
        ("len(_v0) == 2", [1, 2], None),
        ("1 < _v0 < 3", 2, None),
    ],
)
def test_comparisons_with_literals_are_judged_here(expression, value, held):
    assert judged_here(expression, {"_v0": value}) is held


def verdict(candidate, *tests, executor=None, **settings):
    verifier = CodeTests(executor=executor or Counted(), tests="tests", **settings)
    return verifier.invoke({"candidate": candidate, "tests": list(tests), "prompt": PROMPT, "entry_point": "sum"})


PROMPT = '''import math

def near(a, b):
    return math.isclose(a, b)

def area(r):
    """The area of a circle."""
'''


def test_all_candidates_are_one_call_and_no_expected_value_is_in_it():
    verifier = CodeTests(executor=Counted(), tests=lambda record: "assert f(2) == 47110815")
    scorer = VerifiedScorer(
        generators={"a": lambda record: "def f(x): return 47110815", "b": lambda record: "def f(x): return 1"},
        verifier=verifier,
    )
    records = scorer.batch(["one", "two"])
    assert [record["prediction"].confidence for record in records] == [0.5, 0.5]
    assert [len(jobs) for jobs in ASKED] == [4]
    assert "47110815" not in str([job.steps for job in ASKED[0]])


def test_a_second_call_judges_what_is_more_than_a_comparison_without_the_candidate():
    found = verdict("def f(x): return x + 1e-12", "assert abs(f(2) - 2) < 1e-6", "assert f(2) == 2")
    assert [check.status for check in found.checks] == ["passed", "failed"]
    (asking,), (judging,) = ASKED
    assert "def f" in str(asking.setup)
    assert "def f" not in str(judging.setup)


@pytest.mark.parametrize("executor", [MontyExecutor(), UnsafeSubprocessExecutor()], ids=["monty", "unsafe"])
def test_imports_and_helpers_of_the_prompt_that_the_answer_omits(executor):
    candidate = "def area(r): return math.pi * r * r"
    tests = ["assert near(area(1), 3.141592653589793)", "assert near(area(1), 3)"]
    assert verdict(candidate, *tests, executor=executor).score in {0, None}
    found = verdict(candidate, *tests, executor=executor, prelude="prompt")
    assert [check.status for check in found.checks] == ["passed", "failed"]


def test_a_helper_that_the_candidate_replaces_judges_nothing():
    cheat = "def near(a, b): return True\ndef area(r): return 0"
    assert verdict(cheat, "assert near(area(1), 3.14)", prelude="prompt").score == 0


def test_an_entry_point_with_the_name_of_a_builtin():
    candidate = "def sum(a, b): return a + b"
    assert verdict(candidate, "assert sum(1, 2) == 3", entry_point="entry_point").passed


def test_a_report_says_what_came():
    found = verdict("def f(x):\n    if x: return 3\n    return 1 / x", "assert f(1) == 4", "assert f(0) == 1")
    assert found.report.splitlines()[0] == "assert f(1) == 4: failed (got 3)"
    assert "ZeroDivisionError" in found.report.splitlines()[1]


def test_values_that_are_not_plain_are_unsupported():
    found = verdict("def f(x): return range(x)", "assert f(2) == range(2)", "assert list(f(2)) == [0, 1]")
    assert [check.status for check in found.checks] == ["unsupported", "passed"]


def test_no_tests_say_nothing():
    found = verdict("def f(x): return x")
    assert (found.checks, found.score, found.passed) == ((), None, False)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"tests": "assert f(1)"}, "candidate"),
        ({"candidate": "x"}, "tests=..."),
        ({"candidate": "x", "tests": 7}, "list of texts"),
    ],
)
def test_bad_records_fail_alone(record, said):
    good = {"candidate": "def f(x): return x", "tests": "assert f(1) == 1"}
    verifier = CodeTests(tests="tests")
    first, bad = verifier.batch([good, record], return_exceptions=True)
    assert first.passed
    with pytest.raises(ValueError, match=said):
        raise bad


def test_code_is_taken_out_of_its_fence():
    assert code_in("def f(): pass") == "def f(): pass"
    assert code_in("a\n```\nx = 1\n```\n```python\ny = 1\n```") == "x = 1\n"
    assert code_in("```python\nx = 1") == "x = 1"
    assert verdict("It is:\n```python\ndef f(x): return x\n```", "assert f(1) == 1").passed


DOCUMENTED = 'def f(x):\n    """\n    ```\n    f(1)\n    ```\n    """\n    return x\n'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Sure:\r\n```python\r\nx = 1\r\ny = 2\r\n```\r\nDone.", "x = 1\ny = 2\n"),
        ('```python title="a.py"\nx = 1\n```', "x = 1\n"),
        ("```{.python}\nx = 1\n```", "x = 1\n"),
        ("~~~py\nx = 1\n~~~", "x = 1\n"),
        ("1. So:\n   ```\n   if x:\n       y()\n   ```\n2. Done", "if x:\n    y()\n"),
        (f"````python\n{DOCUMENTED}````", DOCUMENTED),
        (f"```python\n{DOCUMENTED}```\nIt gives x.", DOCUMENTED),
        ("Sure: ```python\nx = 1```", "x = 1"),
        ("```\nx = 1```\nand\n```python\ny = 1\n```", "x = 1"),
        ("```sql SELECT 1```", "SELECT 1"),
        ("`x = 1`", "x = 1"),
        ("```sql\n```", ""),
    ],
)
def test_fences_that_models_write(answer, code):
    assert code_in(answer) == code


@pytest.mark.parametrize("part", ["`", "~", "```\n", "``` ", "\n   ```a", " ", "\n~~~", "~~~ "])
def test_a_hostile_answer_is_searched_in_linear_time(part):
    answer = part * (100_000 // len(part))
    with at_most(2):
        found = code_in(answer)
    assert found in answer


def test_preludes():
    assert without_stubs(PROMPT).splitlines() == [
        "import math",
        "def near(a, b):",
        "    return math.isclose(a, b)",
    ]
    assert without_stubs("import os\ndef f(x") == "import os"
    assert without_stubs("") == ""


def test_tests_may_come_from_elsewhere():
    tests = Recording(lambda record: ["assert f(1) == 1"])
    verifier = CodeTests(tests=tests.function)
    assert verifier.invoke({"candidate": "def f(x): return x"}).passed


@pytest.mark.parametrize("question", ["startswith('ab')", "issubset({1})", "__eq__(4)", "is_integer()"])
@pytest.mark.parametrize("executor", [MontyExecutor(), UnsafeSubprocessExecutor(workers=1)], ids=["monty", "unsafe"])
def test_an_object_does_not_answer_for_itself(executor, question):
    method = question.split("(")[0]
    candidate = f"class Liar:\n    def {method}(self, *a): return True\ndef f(x): return Liar()"
    record = {"candidate": candidate, "tests": f"assert f(2).{question}"}
    assert not CodeTests(tests="tests", executor=executor).invoke(record).passed


def test_a_plain_value_is_asked_where_the_test_is_judged():
    record = {"candidate": "def f(x): return 'ab' * x", "tests": "assert f(2).startswith('aba')"}
    assert CodeTests(tests="tests").invoke(record).passed
