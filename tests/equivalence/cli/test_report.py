"""`equivcheck report` on result files, good and bad."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from equivalence.cli.consoles import harmless
from tests.equivalence.cli.program import GREEDY, Program
from tests.reports.results import hostile_result


@pytest.fixture(autouse=True)
def result(equivcheck: Program) -> dict[str, Any]:
    equivcheck("run", *GREEDY, "--ops", "500", "--jobs", "1")
    loaded: dict[str, Any] = json.loads(Path("equivcheck-report/result.json").read_text())
    return loaded


def test_it_prints_what_run_prints(equivcheck: Program) -> None:
    done = equivcheck("report", "equivcheck-report/result.json")
    assert done.status == 0
    assert "Exit status 1" in done.out
    assert "patch 2   previous" in done.out


def test_one_format_goes_to_standard_output(equivcheck: Program) -> None:
    done = equivcheck("report", "equivcheck-report/result.json", "--format", "json")
    assert done.out == Path("equivcheck-report/result.json").read_text()
    message = equivcheck.refuses(
        *("report", "equivcheck-report/result.json", "--format", "json,html")
    )
    assert "name one with --out" in message


def test_formats_go_to_a_folder(equivcheck: Program) -> None:
    done = equivcheck(
        *("report", "equivcheck-report/result.json", "--format", "html,json", "--out", "new")
    )
    assert done.status == 0
    assert {path.name for path in Path("new").iterdir()} == {"report.html", "result.json"}
    html = Path("equivcheck-report/report.html").read_text()
    assert Path("new/report.html").read_text() == html


def test_a_hostile_result_gives_the_terminal_and_ci_no_command(equivcheck: Program) -> None:
    Path("hostile.json").write_text(hostile_result().to_json())
    done = equivcheck("report", "hostile.json")
    assert done.status == 0
    assert "\x1b" not in done.out
    assert "error::planted" in done.out
    assert not re.search(r"(?m)^\s*(::|##\[)", done.out)
    assert harmless(" ##[error]x") == " # #[error]x"
    assert harmless("\x1b[1m::warning::x") == "\x1b[1m: :warning::x"
    assert harmless("a::b") == "a::b"


def test_two_results_are_compared(equivcheck: Program, result: dict[str, Any]) -> None:
    old = "equivcheck-report/result.json"
    assert equivcheck("report", old, old).out == "Nothing changed.\n"
    for pair in result["pairs"]:
        pair["verdict"] = "no-divergence" if pair["verdict"] == "diverged" else pair["verdict"]
        pair["counterexample"] = None
    Path("new.json").write_text(json.dumps({**result, "exit_status": 0}))
    done = equivcheck("report", old, "new.json")
    assert done.status == 0
    assert "patch 2: step 2 against the base (better)" in done.out
    assert "  new: no-divergence" in done.out
    assert "exit status\n  old: 1\n  new: 0" in done.out
    assert "(worse)" in equivcheck("report", "new.json", old).out
    message = equivcheck.refuses("report", old, "new.json", "--format", "json")
    assert "--format and --out are for one" in message


def test_files_that_are_no_results(equivcheck: Program, result: dict[str, Any]) -> None:
    def says(text: str) -> str:
        Path("bad.json").write_text(text)
        message = equivcheck.refuses("report", "bad.json")
        assert "bad.json" in message
        assert len(message) < 500
        return message

    whole = json.dumps(result)
    assert "cannot be read" in equivcheck.refuses("report", "absent.json")
    assert "cannot be read" in equivcheck.refuses("report", ".")
    assert "Invalid JSON" in says("")
    assert "Invalid JSON" in says(whole[: len(whole) // 2])
    assert "equivcheck/result/1" in says(json.dumps({**result, "schema": "equivcheck/result/2"}))
    assert "pairs.0.verdict" in says(whole.replace('"no-divergence"', '"fine"'))
    assert "seed" in says(json.dumps({**result, "seed": "many"}))
    assert "Invalid JSON" in says("[" * 100_000)
    assert says(json.dumps([result]))
    assert says("\x00" * 100)
