"""`equivcheck record` and `calibrate --live`: what is refused, and what is missing."""

from pathlib import Path

import pytest

from tests.equivalence.cli.program import Program

TRACE = "equivcheck-trace/1 hugetlb\nworld nr_hugepages=2\nspawn id=A\n"


def test_either_a_trace_or_a_seed(equivcheck: Program) -> None:
    assert "expected either a TRACE or --seed" in equivcheck.refuses("record")
    Path("one.trace").write_text(TRACE)
    assert "expected either" in equivcheck.refuses("record", "one.trace", "--seed", "1")


def test_traces_that_cannot_be_recorded(equivcheck: Program) -> None:
    assert "there is no such file" in equivcheck.refuses("record", "--seed", "1", "--kernel", "no")
    assert "nosuch" in equivcheck.refuses("record", "nosuch.trace")
    Path("giant.trace").write_text(TRACE.replace("nr_hugepages=2", "hstates=2M,1G"))
    assert "hstates cannot be recorded" in equivcheck.refuses("record", "giant.trace")
    assert "expected letters" in equivcheck.refuses("record", "--seed", "1", "--name", "a/b")


def test_live_takes_no_traces(equivcheck: Program) -> None:
    assert "TRACES are given with --live" in equivcheck.refuses("calibrate", "--live", "one.jsonl")


@pytest.mark.parametrize("command", [("record", "--seed", "1"), ("calibrate", "--live")])
def test_what_is_missing_is_named_with_the_command_that_installs_it(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = equivcheck(*command)
    assert done.status == 4
    assert "qemu-system-x86_64 was not found; install it: apt-get install" in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("*.jsonl"))
