"""`equivcheck replay` and `equivcheck shrink` on trace files."""

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from equivalence.subject import WorldError
from models.schema.trace import Args, parse_trace
from tests.equivalence.cli.program import AGREEING, GREEDY, HARMLESS, TAKE_THREE, Program
from tests.toy import Toy, ToySubject


@pytest.fixture(autouse=True)
def traces(equivcheck: Program) -> None:
    Path("take.trace").write_text(TAKE_THREE)
    Path("harmless.trace").write_text(HARMLESS)
    Path("bug.trace").write_text("equivcheck-trace/1 toy\nworld pages=8\n" + "grow n=2\n" * 4)


@pytest.mark.parametrize("command", ["replay", "shrink"])
def test_schedules_that_cannot_be_run(equivcheck: Program, command: str) -> None:
    head, *ops = HARMLESS.splitlines()
    for schedule, message in (
        ("0-9/0.1", "one.trace: schedule: got '0-9/0.1', expected AT-TASKS/POINT.TASK"),
        (
            "0-2/1.1,0.1",
            "one.trace: schedule: '0-2/1.1,0.1': boundaries must rise, and tasks be below 2",
        ),
        ("0-2/1.1", "runs operations together, which the tier 'toy' cannot; leave out its sched"),
    ):
        lines = [head, ops[0], f"schedule choices={schedule}", *ops[1:], "give who=A"]
        Path("one.trace").write_text("\n".join(lines) + "\n")
        assert message in equivcheck.refuses(command, *GREEDY, "one.trace")


def test_replay_shows_every_operation(equivcheck: Program, snapshot: SnapshotAssertion) -> None:
    done = equivcheck("replay", *GREEDY, "take.trace")
    assert done.status == 1
    assert done.out == snapshot


def test_replay_of_a_trace_on_which_nothing_differs(
    equivcheck: Program, snapshot: SnapshotAssertion
) -> None:
    done = equivcheck("replay", *GREEDY, "harmless.trace")
    assert done.status == 0
    assert done.out == snapshot


def test_replay_of_chosen_steps(equivcheck: Program) -> None:
    assert equivcheck("replay", *GREEDY, "take.trace", "--steps", "0", "1").status == 0
    assert equivcheck("replay", *GREEDY, "take.trace", "--steps", "0", "2").status == 1
    message = equivcheck.refuses("replay", *GREEDY, "take.trace", "--steps", "0", "3")
    assert "step 3 does not exist; the series has steps 0 to 2" in message


def test_replay_names_defects(equivcheck: Program) -> None:
    done = equivcheck("replay", *AGREEING, "bug.trace")
    assert done.status == 0
    assert "defect on step 0 after op 2: bug: pool overflow: pool overflow" in done.out
    assert "defect on step 0 after op 1: warning: pool is large" in done.out


def test_replay_of_a_system_that_fails_is_an_error_of_ours(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Toy, who: str, n: int) -> None:
        raise KeyError(who)

    monkeypatch.setattr(Toy, "op_take", fails)
    done = equivcheck("replay", *AGREEING, "--steps", "0", "1", "harmless.trace")
    assert done.status == 4
    assert "error: the system before the patch raised KeyError" in done.out
    done = equivcheck("shrink", *AGREEING, "harmless.trace")
    assert done.status == 0
    assert parse_trace(done.out).ops[-1].kind == "take"


def test_a_long_trace_is_cut_in_the_table(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("equivalence.explain.MAX_STEPS", 2)
    done = equivcheck("replay", *GREEDY, "take.trace")
    assert "The table ends after 2 of 3 ops." in done.out


def test_shrink_prints_the_minimal_trace(equivcheck: Program) -> None:
    done = equivcheck("shrink", *GREEDY, "take.trace")
    assert done.status == 0
    assert done.out == (
        "equivcheck-trace/1 toy\n# step 1 and step 2 differ in outcome.ret\n"
        "world pages=2\ntake who=A n=3\n"
    )
    assert "3 ops became 1" in done.err


def test_shrink_writes_a_file(equivcheck: Program) -> None:
    done = equivcheck("shrink", *GREEDY, "take.trace", "--out", "small.trace")
    assert done.out == ""
    assert len(parse_trace(Path("small.trace").read_text()).ops) == 1
    message = equivcheck.refuses("shrink", *GREEDY, "take.trace", "--out", "no/such/folder")
    assert "cannot be written" in message


def test_shrink_of_a_defect(equivcheck: Program) -> None:
    done = equivcheck("shrink", *AGREEING, "bug.trace")
    assert done.status == 0
    assert "step 0 breaks 'warning: pool is large'" in done.out


def test_shrink_of_a_trace_that_shows_nothing(equivcheck: Program) -> None:
    message = equivcheck.refuses("shrink", *AGREEING, "harmless.trace")
    assert "nothing to make smaller" in message


@pytest.mark.parametrize("command", ["replay", "shrink"])
def test_files_that_are_no_traces_of_the_subject(equivcheck: Program, command: str) -> None:
    def says(text: str) -> str:
        Path("bad.trace").write_text(text)
        return equivcheck.refuses(command, *GREEDY, "bad.trace")

    head = "equivcheck-trace/1 toy\n"
    assert "cannot be read" in equivcheck.refuses(command, *GREEDY, "absent.trace")
    assert "cannot be read" in equivcheck.refuses(command, *GREEDY, ".")
    assert "expected 'equivcheck-trace/1 SUBJECT'" in says("\x00\x01")
    assert "subject 'other', expected 'toy'" in says("equivcheck-trace/1 other\nworld pages=1\n")
    assert "no 'world' line" in says(head)
    assert "bad.trace: pages is 99, expected 0 to 8" in says(head + "world pages=99\n")
    assert "bad.trace: fly is not an operation" in says(head + "world pages=1\nfly\n")
    assert "bad.trace:3: got 'x', expected key=value" in says(head + "world pages=1\ntake x\n")


def test_a_world_that_passes_the_check_and_does_not_boot(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boot(self: Toy, world: Args) -> None:
        msg = "the machine is too small"
        raise WorldError(msg)

    monkeypatch.setattr(ToySubject, "check_world", lambda self, world: None)
    monkeypatch.setattr(Toy, "boot", boot)
    message = equivcheck.refuses("replay", *GREEDY, "harmless.trace")
    assert "the machine is too small" in message


def test_a_step_that_cannot_be_run(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "does not compile"
    monkeypatch.setattr("tests.toy.ToyTier.obstacle", lambda self, step: reason if step else None)
    message = equivcheck.refuses("replay", *GREEDY, "harmless.trace")
    assert "step 1 cannot be run: does not compile" in message
