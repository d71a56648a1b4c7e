"""`equivcheck explore`: named worlds, verdicts, bounds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from equivalence.cli import explore
from equivalence.explorer import SmallWorld
from equivalence.subjects.hugetlb import worlds
from models.schema.result import Result, parse_result
from models.schema.trace import Op
from tests.equivalence.cli.program import AGREEING, GREEDY, Program

TAKES = tuple(Op("take", {"who": who, "n": n}) for who in "AB" for n in (0, 1, 2, 3, 4))
GIVES = tuple(Op("give", {"who": who}) for who in "AB")
#: Joint states: who holds how much of four pages, nothing told apart from no entry.
SMALL = SmallWorld("small", "two takers", {"pages": 4}, TAKES[1:5] + TAKES[6:] + GIVES)
LARGE = SmallWorld("large", "takers of nothing", {"pages": 8}, TAKES + GIVES)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worlds of the toy, in place of HugeTLB's."""
    monkeypatch.setattr(worlds, "WORLDS", (SMALL, LARGE))
    monkeypatch.setattr(explore, "SUBJECT", "toy")


def result() -> Result:
    return parse_result(Path("equivcheck-report/result.json").read_text())


def test_the_named_worlds_are_listed(equivcheck: Program) -> None:
    done = equivcheck("explore", "list")
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines()] == [w.name for w in worlds.WORLDS]


def test_worlds_are_explored_to_their_fixpoint(equivcheck: Program, toys: None) -> None:
    done = equivcheck("explore", *AGREEING, "--jobs", "1", "--checkpoints", "kept")
    assert done.status == 0, done.out
    first = result()
    (pair, *_) = [pair for pair in first.pairs if pair.against == "previous"]
    assert (pair.verdict.value, pair.rung) == ("exhausted", "predicates equal on every input")
    assert pair.states is not None
    assert pair.states > 10
    assert [search.name for search in pair.evidence.searches] == [
        "explorer, world small",
        "explorer, world large",
    ]
    assert first.command == f"equivcheck explore {' '.join(AGREEING)} --jobs 1 --checkpoints kept"
    assert Path("equivcheck-report/report.html").is_file()
    searched = [one for one in first.pairs if one.against == "previous"]
    assert len(list(Path("kept").iterdir())) == 2 * len(searched) == 4
    assert equivcheck(*first.command.split()[1:]).status == 0, "gone on with, there is no more"
    again = [one for one in result().pairs if one.against == "previous"]
    assert [one.states for one in again] == [one.states for one in searched]


def test_a_divergence_is_found_by_a_shortest_trace(equivcheck: Program, toys: None) -> None:
    done = equivcheck("explore", "small", "small", *GREEDY, "--jobs", "1", "--against", "base")
    assert done.status == 1
    assert result().command.startswith("equivcheck explore small small --series ")
    (found,) = [pair.counterexample for pair in result().pairs if pair.counterexample]
    assert found.ops == 1
    again = equivcheck(*f"replay {' '.join(GREEDY)} {found.reproducer}".split())
    assert again.status == 1


def test_a_bound_is_kept_and_told(equivcheck: Program, toys: None) -> None:
    done = equivcheck("explore", "small", *AGREEING, "--depth", "0", "--jobs", "1")
    assert done.status == 3
    assert {pair.states for pair in result().pairs if pair.against == "previous"} == {1}


def test_what_cannot_be_explored(
    equivcheck: Program, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = equivcheck.refuses
    assert "world 'x': there is none of that name; expected small" in say("explore", "x")
    Path("file").write_text("")
    assert "file: cannot be written" in say("explore", *AGREEING, "--out", "file")
    message = say("explore", *AGREEING, "--checkpoints", "file")
    assert "file: cannot be written" in message
    assert "name another with --checkpoints" in message
    Path("equivcheck-report/traces").mkdir(parents=True)
    Path("equivcheck-report/traces/bad.trace").write_text("nothing\n")
    assert "bad.trace" in say("explore", *AGREEING, "--jobs", "1")
    monkeypatch.setattr(explore, "SUBJECT", "hugetlb")
    assert "of subject 'hugetlb', and the series is of 'toy'" in say("explore", *GREEDY)
