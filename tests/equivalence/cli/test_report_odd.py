"""`equivcheck report` on results that no run makes, and where it cannot write."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from equivalence.cli.output import WRITERS
from tests.equivalence.cli.program import Program
from tests.reports.results import toy_result


@pytest.fixture
def result(equivcheck: Program) -> dict[str, Any]:
    """A result with a divergence, in the current folder too."""
    text = toy_result().to_json()
    Path("result.json").write_text(text)
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.fixture(autouse=True)
def _written(result: dict[str, Any]) -> None:
    """Every test has the file."""


def _counterexample(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in result["pairs"] if p["counterexample"])
    example: dict[str, Any] = found["counterexample"]
    return example


def _huge_numbers(result: dict[str, Any]) -> None:
    """Integers that no counter holds, where any integer may stand."""
    for pair in result["pairs"]:
        pair["ops"] = pair["states"] = 10**30
    example = _counterexample(result)
    example["before_value"], example["op_index"] = 10**400, 10**40
    example["initial"] = {
        "pool": {"a": {"free": 10**80, "resv": -(10**90)}},
        "lists": {"0": {"hugepage_freelists": [[10**70]], "hugepage_activelist": []}},
        "inodes": {"a": {"resv_map": {"regions": [[0, 10**50, ""], [-5, 3, ""]], "refs": 1}}},
    }
    example["timeline"][0]["changed"] = [
        {"field": "pool.a.free", "before": 10**81, "after": 1.5, "differs": True},
        {"field": "pool.a.resv", "before": 1, "after": True, "differs": True},
    ]
    result["timing"]["seconds"] = 1e308


def _deep_values(result: dict[str, Any]) -> None:
    """As deep as the parser lets through."""
    value: Any = 10**40
    for _ in range(180):
        value = [value]
    example = _counterexample(result)
    example["initial"] = {"pool": value}
    example["before_value"] = value
    example["timeline"][0]["changed"] = [
        {"field": "pool.a.free", "before": value, "after": 10**40, "differs": True}
    ]


def _many_calls(result: dict[str, Any]) -> None:
    """A call tree that is no tree."""
    row = {"kind": "call", "depth": 10**30, "function": "f", "first_difference": True}
    side = {"rows": [row] * 5_000, "earlier": 10**30, "stack": ["f"] * 1000}
    source = {"function": "f", "file": "f.c", "first_line": 10**40, "lines": ["x"] * 5000}
    _counterexample(result)["calls"] = {
        "op": "x",
        "parting": "call",
        "before": {**side, "source": source},
        "after": {"rows": []},
        "hunk": "x" * 90_000,
    }


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("change", [_huge_numbers, _deep_values, _many_calls])
def test_a_result_that_no_run_makes_gives_a_bounded_report(
    equivcheck: Program, result: dict[str, Any], change: Callable[[Any], None], name: str
) -> None:
    change(result)
    Path("odd.json").write_text(json.dumps(result))
    done = equivcheck("report", "odd.json", "--format", name)
    assert (done.status, done.err) == (0, "")
    assert name == "json" or len(done.out) < 1_000_000
    assert equivcheck("report", "odd.json").status == 0
    assert equivcheck("report", "odd.json", "result.json").status == 0


def test_a_number_too_long_to_be_read_is_refused(
    equivcheck: Program, result: dict[str, Any]
) -> None:
    text = json.dumps({**result, "later": "N"}).replace('"N"', "9" * 5000)
    Path("odd.json").write_text(text)
    assert "number out of range" in equivcheck.refuses("report", "odd.json")


def test_a_folder_that_cannot_be_written(equivcheck: Program) -> None:
    Path("file").write_text("")
    message = equivcheck.refuses("report", "result.json", "--out", "file")
    assert "file: cannot be written" in message
    assert "name another with --out" in message


def test_a_disk_that_fills_leaves_the_old_report_whole(equivcheck: Program) -> None:
    words = ("report", "result.json", "--format", "html", "--out", "out")
    equivcheck(*words)
    old = Path("out/report.html").read_text()
    # A file of this process may not grow past 10,000 bytes: writing fails in its midst.
    limited = (
        "import resource, sys, equivalence.cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        f"sys.argv[1:] = {list(words)!r}\n"
        "sys.exit(equivalence.cli.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "out/report.html: cannot be written (File too large)" in done.stderr
    assert Path("out/report.html").read_text() == old
    assert [path.name for path in Path("out").iterdir()] == ["report.html"]
