"""Verifiers of answers that are no code."""

from __future__ import annotations

import datetime
import re
import sqlite3
from contextlib import closing
from decimal import Decimal

import numpy as np
import pytest
from clock import PATIENCE, at_most, longer
from local_server import QuietHandler, listening
from pydantic import BaseModel

from dsplus_chains import VerifiedScorer
from dsplus_chains.schema import InvalidInputError, WiringError
from dsplus_chains.verifying import Agreement, EntailmentVerifier, SchemaVerifier, SqlVerifier
from dsplus_chains.verifying.query_rows import has_order


@pytest.mark.parametrize(
    ("candidates", "scores"),
    [
        (["a", "A ", "b"], [2 / 3, 2 / 3, 1 / 3]),
        (["a", None, "a", None], [0.5, None, 0.5, None]),
        ([1, 1.0, "1"], [2 / 3, 1 / 3, 2 / 3]),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], [1, 1]),
    ],
)
def test_agreement_is_the_share_that_says_the_same(candidates, scores):
    for candidate, score in zip(candidates, scores, strict=True):
        if candidate is not None:
            verdict = Agreement().invoke({"candidate": candidate, "candidates": candidates})
            assert verdict.score == pytest.approx(score)


def test_what_normalises_is_called_once_for_each_candidate_of_a_batch():
    candidates, called = [f"it is {number % 7}" for number in range(50)], []

    def last(text):
        called.append(text)
        return text.split()[-1]

    records = [{"candidate": one, "candidates": candidates} for one in candidates]
    verdicts = Agreement(normaliser=last).batch(records)
    assert [verdict.score for verdict in verdicts] == [candidates.count(one) / 50 for one in candidates]
    assert sorted(called) == sorted(candidates)


def test_agreement_over_prompts_and_samples_and_a_normaliser():
    answers = {"terse": "12", "wordy": "So the answer is 12.", "wrong": "It is 13."}
    scorer = VerifiedScorer(
        generators={name: (lambda record, said=said: said) for name, said in answers.items()},
        verifier=Agreement(normaliser=lambda text: text.strip(".").split()[-1]),
    )
    prediction = scorer.invoke("7 + 5")["prediction"]
    assert (prediction.value, prediction.confidence) == ("12", pytest.approx(2 / 3))


def test_what_the_normaliser_cannot_read_agrees_with_nothing():
    agreement = Agreement(normaliser=lambda text: text if text.isdigit() else None)
    assert agreement.invoke({"candidate": "x", "candidates": ["x", "x"]}).score == 0
    assert agreement.invoke({"candidate": "1", "candidates": ["1", "x"]}).score == 0.5


class Person(BaseModel):
    name: str
    age: int


JSON_SCHEMA = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}


@pytest.mark.parametrize("form", [Person, JSON_SCHEMA], ids=["pydantic", "json schema"])
@pytest.mark.parametrize(
    ("candidate", "passed"),
    [
        ('{"name": "Ada", "age": 36}', True),
        ('Here:\n```json\n{"name": "Ada", "age": 36}\n```', True),
        ('Sure:\n```JSON\n{"name": "Ada", "age": 36}\n```\nShe wrote `programs`.', True),
        ('{"name": "```x```", "age": 36}', True),
        (Person(name="Ada", age=36), True),
        ('{"name": "Ada", "age": NaN}', False),
        ({"name": "Ada", "age": 36}, True),
        ('{"name": "Ada"}', False),
        ({"name": "Ada", "age": "old"}, False),
        ("Ada, 36", False),
        ("[" * 100_000, False),
        (7, False),
    ],
)
def test_schemas(form, candidate, passed):
    verdict = SchemaVerifier(form=form).invoke({"candidate": candidate})
    assert verdict.passed is passed
    assert bool(verdict.report) is not passed


def test_a_strict_form_converts_nothing():
    record = {"candidate": {"name": "Ada", "age": "36"}}
    assert SchemaVerifier(form=Person).invoke(record).passed
    assert not SchemaVerifier(form=Person, strict=True).invoke(record).passed


def test_a_strict_form_takes_from_json_what_json_has_no_word_for():
    class Birth(BaseModel):
        day: datetime.date

    strict = SchemaVerifier(form=Birth, strict=True)
    assert strict.invoke({"candidate": '{"day": "1815-12-10"}'}).passed
    assert not strict.invoke({"candidate": {"day": "1815-12-10"}}).passed


TREE = {"$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "$ref": "#/$defs/tree"}


@pytest.mark.parametrize(
    ("candidate", "report"),
    [("[[], [[]]]", ""), ("[[], [1]]", "$[1][0]: 1 is not of type"), ("[" * 900 + "]" * 900, "nested too deep")],
)
def test_a_schema_may_refer_to_its_own_parts(candidate, report):
    found = SchemaVerifier(form=TREE).invoke({"candidate": candidate})
    assert (found.passed, report in found.report) == (not report, True)


def test_what_a_schema_refers_to_must_be_in_it_and_is_not_fetched():
    asked = []

    class Handler(QuietHandler):
        def do_GET(self):
            asked.append(self.path)
            self.answer(b"{}")

    with listening(Handler) as port:
        for to in ("#/$defs/none", f"http://127.0.0.1:{port}/schema.json"):
            verifier = SchemaVerifier(form={"$ref": to})
            scorer = VerifiedScorer(generators={"small": lambda record: "{}"}, verifier=verifier)
            with pytest.raises(WiringError, match=r"\$ref that leads nowhere"):
                scorer.invoke("text")
    assert not asked


def test_what_is_no_schema_is_refused():
    with pytest.raises(ValueError, match="expected a JSON schema"):
        SchemaVerifier(form={"type": "no such type"})


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as made:
        made.executescript("CREATE TABLE t (n, s); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL);")
    made.close()
    return path


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("SELECT n FROM t WHERE n < 3", [True, True]),
        ("```sql\nSELECT n FROM t WHERE n < 3;\n```", [True, True]),
        ("SELECT n * 1.0 FROM t WHERE n < 3 ORDER BY n", [True, True]),
        ("SELECT n FROM t", [True, False]),
        ("SELECT n, s FROM t WHERE n < 3", [True, False]),
        ("SELECT '1' UNION SELECT '2'", [True, False]),
        ("SELEC n", [False, False]),
        ("SELECT n FROM t; SELECT 1", [False, False]),
        ("", [False, False]),
    ],
)
def test_queries(shop, query, passed):
    verifier = SqlVerifier(database=shop, expected="rows", seconds=PATIENCE)
    for rows in ([(1,), (2,)], "SELECT n FROM t WHERE n <= 2"):
        verdict = verifier.invoke({"candidate": query, "rows": rows})
        assert [check.status == "passed" for check in verdict.checks] == passed


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t",
        "INSERT INTO t VALUES (4, 'x')",
        "UPDATE t SET n = 0",
        "DROP TABLE t",
        "CREATE TABLE u (n)",
        "CREATE TEMP TABLE u (n)",
        "ATTACH '{folder}/other.db' AS other",
        "VACUUM INTO '{folder}/other.db'",
        "PRAGMA writable_schema = 1",
        "PRAGMA database_list",
        "SELECT load_extension('x')",
        "SELECT readfile('{folder}/shop.db')",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c",
        "SELECT zeroblob(1000000000)",
        "SELECT randomblob(999999999)",
        "BEGIN",
    ],
)
def test_a_query_can_only_read_and_not_for_long(shop, tmp_path, query):
    before = shop.read_bytes()
    for one in longer(0.2):
        with one as seconds, at_most(5 + seconds):
            verifier = SqlVerifier(database=lambda record: shop, seconds=seconds, rows=100)
            verdict, after = verifier.batch(
                [{"candidate": query.format(folder=tmp_path)}, {"candidate": "SELECT count(*) FROM t"}]
            )
            assert after.passed
    assert [check.status for check in verdict.checks] == ["failed"]
    assert shop.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


MANY = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"
LONG = "replace(hex(zeroblob(20000)), '00', 'ab')"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (f"{MANY} SELECT hex(zeroblob(45000)) FROM c LIMIT 400", "more than 10,000,000 bytes"),
        (f"{MANY} SELECT hex(zeroblob(4000000)) FROM c LIMIT 400", "a value of more than 1,000,000 bytes"),
        (f"{MANY} SELECT n FROM c", "more than 200 rows|more than {:g} seconds"),
        (f"{MANY} SELECT sum(instr({LONG} || n, {LONG} || 'b')) FROM c", "more than {:g} seconds"),
        (
            f"SELECT trim({'hex(zeroblob(450000))'}, replace(hex(zeroblob(450000)), '0', 'a') || '0')",
            "trims a long list",
        ),
        (f"SELECT 1 WHERE 'a' LIKE '{'%a' * 600}'", "LIKE or GLOB pattern too complex"),
        (f"SELECT {', '.join(['hex(zeroblob(45000))'] * 501)}", "too many columns"),
    ],
)
def test_a_query_takes_neither_much_memory_nor_long(shop, query, why):
    for one in longer(0.2):
        with one as seconds, at_most(5 + seconds):
            verifier = SqlVerifier(database=shop, seconds=seconds, rows=200)
            [check] = verifier.invoke({"candidate": query}).checks
            assert check.status == "failed"
            assert re.search(why.format(seconds), check.detail), check.detail


@pytest.mark.parametrize(
    "arguments",
    [
        "'xaxx', 'x'",
        "'xyay', 'yx'",
        "'äaß', 'ßä'",
        "1.5, '15'",
        "51, 5",
        "NULL, 'x'",
        "'x', NULL",
        "'x', ''",
        "x'6162', 'a'",
    ],
)
@pytest.mark.parametrize("trim", ["trim", "ltrim", "rtrim"])
def test_trimming_is_that_of_sqlite(shop, trim, arguments):
    query = f"SELECT {trim}({arguments})"
    with closing(sqlite3.connect(":memory:")) as plain:
        rows = plain.execute(query).fetchall()
    assert (
        SqlVerifier(database=shop, expected="rows", seconds=PATIENCE).invoke({"candidate": query, "rows": rows}).passed
    )


def test_a_table_may_be_wider_and_hold_longer_texts_than_a_result(shop):
    with closing(sqlite3.connect(shop)) as made, made:
        made.execute(f"CREATE TABLE wide ({', '.join(f'c{number}' for number in range(600))})")
        made.execute("INSERT INTO wide (c1, c2) VALUES (7, ?)", ("x" * 2_000_000,))
    assert SqlVerifier(database=shop, seconds=PATIENCE).invoke({"candidate": "SELECT c1 FROM wide"}).passed
    long = {"candidate": "SELECT c2 FROM wide"}
    assert "a value of more than 1,000,000 bytes" in SqlVerifier(database=shop, seconds=PATIENCE).invoke(long).report
    assert SqlVerifier(database=shop, largest=3_000_000, seconds=PATIENCE).invoke(long).passed


@pytest.mark.parametrize(("size", "is_read"), [(200_000, True), (2_000_000, False)])
def test_documents_are_searched_and_an_expected_query_beyond_the_limit_names_it(shop, size, is_read):
    with closing(sqlite3.connect(shop)) as made, made:
        made.execute("CREATE TABLE d (id, body)")
        made.execute("INSERT INTO d VALUES (1, ?)", ("x" * size,))
    query = "SELECT id FROM d WHERE body LIKE 'x%'"
    record = {"candidate": query, "rows": query}
    assert SqlVerifier(database=shop, expected="rows", largest=3_000_000, seconds=PATIENCE).invoke(record).passed
    verifier = SqlVerifier(database=shop, expected="rows", seconds=PATIENCE)
    if is_read:
        assert verifier.invoke(record).passed
    else:
        with pytest.raises(InvalidInputError, match=r"the expected query .* more than 1,000,000 bytes.*`largest=`"):
            verifier.invoke(record)


@pytest.mark.parametrize("candidate", ["", "-- I cannot tell", "/* nothing */ ;", "```sql\n```"])
def test_what_asks_nothing_gives_no_result(shop, candidate):
    verdict = SqlVerifier(database=shop, expected="rows").invoke({"candidate": candidate, "rows": []})
    assert verdict.report == "runs: failed (it is no query, and gives no result)\nresult: failed"


def test_integers_are_compared_exactly_and_other_numbers_nearly(shop):
    verifier = SqlVerifier(database=shop, expected="rows")

    def passes(query, rows):
        return verifier.invoke({"candidate": query, "rows": rows}).passed

    assert not passes("SELECT 1700000001", [[1700000002]])
    assert passes("SELECT 1700000001 UNION ALL SELECT 1700000002", [[1700000002], [1700000001]])
    assert passes(
        "SELECT 1700000001.0 AS n, 'a' UNION ALL SELECT 1700000000.0, 'b'", [[1700000000, "b"], [1700000001, "a"]]
    )
    assert passes("SELECT 0.1 + 0.2, NULL, 5", [[Decimal("0.3"), float("nan"), np.int64(5)]])
    assert not passes("SELECT '1'", [[1]])


@pytest.mark.parametrize(
    ("query", "counts"),
    [
        ("SELECT n FROM t ORDER BY n", True),
        ("SELECT n FROM t order/**/ by n LIMIT 3", True),
        ("SELECT n FROM (SELECT n FROM t ORDER BY n)", False),
        ("SELECT n, sum(n) OVER (ORDER BY n DESC) FROM t", False),
        ("SELECT n FROM t -- ORDER BY n", False),
        ("SELECT n, 'it''s ORDER BY', \"order by\" FROM (SELECT n, 1 AS \"order by\" FROM t)", False),
        ("SELECT n FROM (SELECT n, ')' FROM t) ORDER BY n", True),
    ],
)
def test_the_order_of_rows_counts_where_the_query_orders_them(shop, query, counts):
    assert has_order(query) is counts
    with closing(sqlite3.connect(shop)) as made:
        rows = made.execute(query).fetchall()
    verifier = SqlVerifier(database=shop, expected="rows")
    assert verifier.invoke({"candidate": query, "rows": rows}).passed
    assert verifier.invoke({"candidate": query, "rows": rows[::-1]}).passed is not counts


def test_an_expected_query_says_whether_the_order_counts(shop):
    verifier = SqlVerifier(database=shop, expected="query")
    ways = ["SELECT n FROM t", "SELECT n FROM t ORDER BY n DESC"]
    passed = [[verifier.invoke({"candidate": one, "query": query}).passed for one in ways] for query in ways]
    assert passed == [[True, True], [False, True]]


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ([1, 2, 3], r"Got 1 \(int\) among the expected rows but expected a list of rows"),
        (["a", "b"], r"Got 'a' \(str\) among the expected rows"),
        ([{"n": 1}], r"Got a dict with the keys \['n'\] among"),
        (None, "Got None"),
        ("SELEC n", "Got the expected query 'SELEC n', but .*syntax error"),
        ("DROP TABLE t", "not authorized"),
        ("", "Got the expected query '', but it is no query"),
    ],
)
def test_what_is_expected_must_be_rows_or_a_query_that_runs(shop, expected, said):
    with pytest.raises(InvalidInputError, match=said):
        SqlVerifier(database=shop, expected="rows").invoke({"candidate": "SELECT n FROM t", "rows": expected})


def test_a_database_that_is_not_there_is_no_verdict(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        SqlVerifier(database=tmp_path / "none.db").invoke({"candidate": "SELECT 1"})
    assert not (tmp_path / "none.db").exists()


def test_entailment_is_one_call_and_its_score_the_confidence():
    asked = []

    def nli(pairs, **settings):
        asked.append(pairs)
        held = [0.9 if pair["text_pair"] in pair["text"] else 0.2 for pair in pairs]
        return [[{"label": "Neutral", "score": 1 - score}, {"label": "Entailment", "score": score}] for score in held]

    scorer = VerifiedScorer(
        generators={"a": lambda record: "It snows.", "b": lambda record: "It rains."},
        verifier=EntailmentVerifier(nli=nli, context="page"),
    )
    prediction = scorer.invoke({"input": "Weather?", "page": "Today. It rains."})["prediction"]
    assert (prediction.value, prediction.confidence) == ("It rains.", 0.9)
    assert [len(pairs) for pairs in asked] == [2]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([[{"label": "LABEL_0", "score": 1}]], "set entails="),
        ([["yes"]], "a list of labels"),
        ([], "one for each"),
        (None, "Got None .* from the model"),
        ([[{"label": "entailment", "score": 7.5}]], "Got the score 7.5 of 'entailment'"),
    ],
)
def test_a_model_that_says_something_else_is_refused(said, message):
    verifier = EntailmentVerifier(nli=lambda pairs, **settings: said)
    with pytest.raises(ValueError, match=message):
        verifier.invoke({"candidate": "x", "input": "y"})


def test_a_model_that_gives_no_probability_gives_no_confidence():
    verifier = EntailmentVerifier(nli=lambda pairs, **_: [[{"label": "entailment", "score": float("nan")}]])
    scorer = VerifiedScorer(generators={"small": str}, verifier=verifier)
    assert scorer.invoke("text")["prediction"].confidence is None


def test_one_text_is_no_list_of_candidates():
    with pytest.raises(InvalidInputError, match="all 'candidates' of its row"):
        Agreement().invoke({"candidate": "a", "candidates": "abc"})
