"""The benchmark of time to kill: both searches find an easy bug, and neither finds what is none."""

import pytest

from benchmarks import kill
from benchmarks.kill import Hunt, Search, ours, plain, shown
from equivalence.cli.choose import Chosen
from equivalence.cli.errors import InputError
from equivalence.subject import Predicate
from tests.quality.planted import CORE
from tests.toy import ToySubject, ToyTier, greedy, plenty, plenty_too

LIMIT_S = 20.0


@pytest.mark.parametrize("search", [ours, plain])
def test_an_easy_bug_is_killed(search: Search) -> None:
    found = search(ToySubject(), ToyTier(plenty, greedy), 0, LIMIT_S)
    assert found.killed
    assert found.seconds < LIMIT_S


@pytest.mark.parametrize("search", [ours, plain])
def test_what_is_no_bug_is_not_killed_and_the_time_is_kept(search: Search) -> None:
    found = search(ToySubject(), ToyTier(plenty, plenty_too), 0, 0.3)
    assert not found.killed
    assert 0.3 <= found.seconds < 5


def test_medians_and_misses_are_told_apart() -> None:
    one, other, missed = Hunt(1.0, True), Hunt(3.0, True), Hunt(9.0, False)
    assert shown([one, other]).split() == ["2.00", "s"]
    assert shown([one, missed]).split() == ["1.00", "s", "1", "of", "2"]
    assert shown([missed]).split() == ["-", "1", "of", "1"]


def test_the_bugs_are_those_planted_in_each_part() -> None:
    assert tuple(one.name for one in CORE) == kill.BUGS


def test_the_program(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:

    def chosen(name: str) -> Chosen:
        if name == "missing":
            msg = "no such series"
            raise InputError(msg)
        return Chosen(ToySubject(), ToyTier(plenty, greedy), "")

    def said(predicates: object, seconds: float) -> list[str]:
        return ["asked"]

    monkeypatch.setattr(kill, "choose", chosen)
    monkeypatch.setattr(kill, "crosshair", said)
    assert kill.main(["--seconds", "9", "--seeds", "1", "--series", "toy:bug"]) == 0
    out = capsys.readouterr().out
    assert "\nbug  " in out
    assert out.endswith("asked\n")
    monkeypatch.setattr(kill, "find_spec", lambda name: None)
    monkeypatch.setattr(kill, "ours", lambda *args: Hunt(1.0, False))
    assert kill.main(["--seconds", "9", "--seeds", "1", "--series", "toy:bug"]) == 1
    assert "not installed" in capsys.readouterr().out
    for wrong in (["--seeds", "0"], ["--series", "missing"]):
        with pytest.raises(SystemExit):
            kill.main(wrong)


def less(n: int) -> bool:
    return n < 3


def at_most(n: int) -> bool:
    return n <= 3


def test_crosshair_is_asked() -> None:
    predicate = Predicate("limit", ("n",), ((0,), (3,)), less, at_most)
    lines = kill.crosshair([predicate], 5)
    assert lines[0].startswith("limit: ")
    assert any("n=3" in line for line in lines)
