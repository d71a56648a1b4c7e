import json
from typing import Any

import jsonschema
import pytest

from models.schema import result as module
from models.schema.result import (
    SCHEMA_FILE,
    Limits,
    Result,
    ResultError,
    Verdict,
    exit_status,
    json_schema,
    parse_result,
)


def a_result(**more: Any) -> Result:
    limits = Limits(
        relation="state",
        profile="quick",
        ops=1,
        jobs=1,
        time_limit_s=None,
        truncated=False,
        interrupted=False,
    )
    return Result(
        exit_status=0,
        tier="port",
        series="s",
        seed=1,
        command="equivcheck run",
        limits=limits,
        pairs=(),
        **more,
    )


def test_the_committed_schema_is_the_model() -> None:
    committed = json.loads(SCHEMA_FILE.read_text())
    assert committed == json_schema(), "write json_schema() to models/schema/result.schema.json"


def test_a_result_survives_its_text_and_fits_the_schema() -> None:
    result = a_result(notes=("unwritable",), later="kept")
    assert parse_result(result.to_json()) == result
    jsonschema.validate(json.loads(result.to_json()), json_schema())


def test_the_keys_that_every_version_has() -> None:
    assert set(json.loads(a_result().to_json())) >= {
        "schema",
        "exit_status",
        "tier",
        "series",
        "seed",
        "command",
        "limits",
        "pairs",
        "defects",
        "not_compared",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "r.json: the file: Invalid JSON"),
        ("[]", "r.json: the file: Input should be an object"),
        ("{}", "r.json: exit_status: Field required"),
        ('{"schema": "equivcheck/result/9"}', "r.json: schema: Input should be 'equivcheck/resu"),
        ("[" * 100_000, "r.json: the file: Invalid JSON: recursion limit"),
    ],
)
def test_what_is_not_a_result_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ResultError) as caught:
        parse_result(text, "r.json")
    assert str(caught.value).startswith(message)
    assert "expected a result of schema 'equivcheck/result/1'" in str(caught.value)


def test_a_result_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESULT_BYTES", 5)
    with pytest.raises(ResultError, match="result: 6 characters, expected at most 5"):
        parse_result("123456")


def test_the_worst_verdict_decides_one_over_four_over_three_over_zero() -> None:
    order = [Verdict.IDENTICAL, Verdict.INADEQUATE, Verdict.ERROR, Verdict.DIVERGED]
    statuses = [exit_status(order[: n + 1]) for n in range(len(order))]
    assert statuses == [0, 3, 4, 1]
    assert exit_status([]) == 0
    assert exit_status([Verdict.NOT_CHECKED, Verdict.CHANGED_AS_DECLARED]) == 3
    assert exit_status([Verdict.DECLARED_BUT_UNSEEN]) == 1
