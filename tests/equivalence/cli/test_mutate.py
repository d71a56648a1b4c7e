"""The command line plants bugs and says what became of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from equivalence import mutate
from equivalence.cli.planting import Budget
from models.schema.result import parse_result
from tests.equivalence.cli.program import AGREEING, FOLDER, Program

PORTED = ("--series", str(FOLDER / "series_ported.py"))
QUICK = ("--states", "0", "--raced", "0", "--ops", "400", "--jobs", "1")


def test_every_mutant_s_fate_is_told(equivcheck: Program, tmp_path: Path) -> None:
    done = equivcheck("mutate", *PORTED, *QUICK, "--json", "fates.json", "--shrink")
    assert done.status == 3, done
    assert re.search(r"take +\d+ +\d+ +0 +\d+ +\d+", done.out)
    assert "of those that are not explained" in done.out
    assert "SURVIVED" in done.out
    written = json.loads((tmp_path / "fates.json").read_text())
    assert written["schema"] == "equivcheck/mutants/1"
    killed = [m for m in written["mutants"] if m["killed_by"]]
    assert all(m["trace"].startswith("equivcheck-trace/1 toy") for m in killed)
    assert f"diverged in {killed[0]['killed_by']}" in done.out


def test_a_hunt_goes_on_from_its_checkpoint(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = equivcheck("mutate", *PORTED, *QUICK, "--checkpoint", "fates")
    monkeypatch.setattr(mutate.Hunter, "hunt", None)
    assert equivcheck("mutate", *PORTED, *QUICK, "--checkpoint", "fates").out == first.out
    said = equivcheck.refuses("mutate", *PORTED, *QUICK, "--seed", "7", "--checkpoint", "fates")
    assert "of other code, mutants, traces or budget; remove it to start anew" in said


def test_one_function_may_be_named(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "equivalence.subjects.hugetlb.mutation.explained", lambda key: "told by nobody"
    )
    done = equivcheck("mutate", *PORTED, *QUICK, "--function", "fits")
    assert done.status == 0
    assert "take" not in done.out
    assert equivcheck("mutate", *PORTED, *QUICK, "--step", "0").status == 0


def test_nothing_to_kill_is_said_without_a_score(equivcheck: Program) -> None:
    done = equivcheck("mutate", *PORTED, *QUICK, "--function", "op_give", "--ops", "1")
    assert "Until killed" not in done.out
    assert "(nothing ran this statement)" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (AGREEING, "it is not made of ports, so it cannot be mutated"),
        ((*PORTED, "--step", "9"), "step 9 does not exist; toy has steps 0 to 1"),
        ((*PORTED, "--function", "no"), "function 'no': step 1 has none"),
    ],
)
def test_what_cannot_be_mutated_is_refused(
    words: tuple[str, ...], message: str, equivcheck: Program
) -> None:
    assert message in equivcheck.refuses("mutate", *words, *QUICK)


def test_a_long_run_tells_the_score(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equivalence.cli.run.PROFILES", {"quick": 500, "ci": 600})
    monkeypatch.setattr("equivalence.cli.planting.PROFILES", {"ci": Budget(300, 0, 100, 1)})
    equivcheck("run", *PORTED, "--profile", "ci", "--jobs", "1", "--out", "out")
    result = parse_result(Path("out/result.json").read_text())
    mutants = result.pairs[-1].evidence.mutants
    assert mutants is not None
    assert mutants.functions == ("take",)
    assert mutants.killed > 0
    equivcheck("run", *PORTED, "--profile", "quick", "--jobs", "1", "--out", "quick")
    assert parse_result(Path("quick/result.json").read_text()).pairs[-1].evidence.mutants is None
    equivcheck("run", *AGREEING, "--profile", "ci", "--jobs", "1", "--out", "whole")
    assert parse_result(Path("whole/result.json").read_text()).pairs[-1].evidence.mutants is None


def test_the_core_is_of_the_subject_and_progress_is_told(equivcheck: Program) -> None:
    named = ("take", "fits", "op_give", "op_take", "op_swap", "op_leak", "op_spin")
    words = [word for name in named for word in ("--function", name)]
    done = equivcheck("mutate", *PORTED, *QUICK, *words)
    assert re.search(r"50 of \d+ mutants", done.err)
    assert "take" in equivcheck("mutate", *PORTED, *QUICK, "--core").out


def test_a_series_that_touches_nothing_is_refused(equivcheck: Program, tmp_path: Path) -> None:
    text = "from tests.toy_port import ToySubject, tier\nSUBJECT = ToySubject()\nTIER = tier()\n"
    (tmp_path / "none.py").write_text(text)
    said = equivcheck.refuses("mutate", "--series", "none.py", *QUICK)
    assert "there is nothing to mutate: name functions with --function or --core" in said
