"""`equivcheck record` and `calibrate --live`: what is written, refused, and missing."""

import json
from pathlib import Path

import pytest

from equivalence.subjects.hugetlb import recorder
from equivalence.subjects.hugetlb.calibration import Disagreement
from equivalence.subjects.hugetlb.live import Found, Live
from equivalence.subjects.hugetlb.recording import dump
from models.schema.trace import format_trace
from tests.equivalence.cli.program import Program
from tests.equivalence.cli.scripted import NAME, ScriptedKernel, recording

TRACE = "equivcheck-trace/1 hugetlb\nworld nr_hugepages=2\nspawn id=A\n"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedKernel]:
    """The kernel of the recording in place of one in QEMU."""

    class Kernel(ScriptedKernel):
        made: list[ScriptedKernel] = []  # noqa: RUF012 -- one list for each test

    monkeypatch.setattr(recorder, "LiveKernel", Kernel)
    return Kernel


def test_a_recording_is_recorded_again(equivcheck: Program, kernel: type[ScriptedKernel]) -> None:
    Path("given.jsonl").write_text(dump(recording()))
    done = equivcheck("record", "given.jsonl", "--name", NAME, "--about", recording().head["about"])
    assert done.status == 0, done.err
    written = Path(f"{NAME}.jsonl").read_text()
    assert written == dump(recording())
    assert f"{len(recording().lines)} operations on 6.12.117+deb12-cloud-amd64; clean." in done.out
    assert f"Written: {NAME}.jsonl" in done.out
    (only,) = kernel.made
    assert only.boots == 2, "it is recorded again on a fresh boot"
    assert only.closed


def test_a_trace_is_recorded_under_its_own_name(
    equivcheck: Program, kernel: type[ScriptedKernel]
) -> None:
    trace = recording().trace()
    Path("mine.trace").write_text(format_trace(trace))
    kernel.clean = False
    done = equivcheck("record", "mine.trace", "--no-repeat", "--out", "made.jsonl")
    assert done.status == 0, done.err
    assert "this kernel's accounting was left wrong" in " ".join(done.out.split())
    head = json.loads(Path("made.jsonl").read_text().splitlines()[0])
    assert (head["name"], head["kind"], head["about"]) == ("mine", "scenario", trace.comments[0])
    assert "seed" not in head
    assert kernel.made[0].boots == 1


def test_what_is_refused_is_left_out_and_told(
    equivcheck: Program, kernel: type[ScriptedKernel]
) -> None:
    kernel.refused = frozenset({"mmap"})
    Path("mine.trace").write_text(f"{TRACE}mmap proc=A map=m1 type=private len=1\nexit proc=A\n")
    done = equivcheck("record", "mine.trace", "--no-repeat")
    assert done.status == 0, done.err
    assert "left out: operation 2 (mmap proc=A map=m1 type=private len=1) names what" in done.err
    lines = [json.loads(line) for line in Path("mine.jsonl").read_text().splitlines()]
    assert [line["i"] for line in lines[1:-1]] == [1, 3]


def test_generated_operations_are_drawn_after_each_answer(
    equivcheck: Program, kernel: type[ScriptedKernel]
) -> None:
    done = equivcheck("record", "--seed", "7", "--ops", "6", "--no-repeat")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in Path("r0007_generated.jsonl").read_text().splitlines()]
    assert (lines[0]["kind"], lines[0]["seed"]) == ("random", 7)
    assert len(lines) == 8
    # All but the first kind refused: the generator is told, and goes on to its number.
    kernel.refused = frozenset({line["op"] for line in lines[2:-1]})
    done = equivcheck("record", "--seed", "7", "--ops", "6", "--no-repeat", "--name", "fewer")
    assert done.status == 0, done.err
    fewer = [json.loads(line) for line in Path("fewer.jsonl").read_text().splitlines()]
    assert len(fewer) < 8
    assert "left out" not in done.err


def test_what_does_not_repeat_is_not_written(
    equivcheck: Program, kernel: type[ScriptedKernel]
) -> None:
    kernel.otherwise = {"free": 99}
    Path("given.jsonl").write_text(dump(recording()))
    done = equivcheck("record", "given.jsonl", "--name", "again")
    assert done.status == 4
    assert "again does not repeat on a fresh boot: " in done.err
    assert not Path("again.jsonl").exists()
    assert kernel.made[0].closed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (recorder.GuestDiedError("record: the guest died"), 4),
        (recorder.OperationRefusedError("record: a world that cannot be made"), 2),
    ],
)
def test_a_kernel_that_fails_is_one_message(
    equivcheck: Program, kernel: type[ScriptedKernel], error: Exception, status: int
) -> None:
    kernel.fails = error
    done = equivcheck("record", "--seed", "1")
    assert done.status == status
    assert done.err.strip().endswith(f"equivcheck: {error}")
    assert kernel.made[0].closed


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
    Path("broken.jsonl").write_text("{}\n")
    assert "broken.jsonl" in equivcheck.refuses("record", "broken.jsonl")


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
    assert not Path("equivcheck-report").exists(), "nothing was written"


def lived(found: Found | None) -> type:
    """A live calibration that came to this."""
    live = Live(found=found)
    live.compared.traces = 2
    live.compared.operations["live", "spawn"] = 30
    live.compared.fields["live", "spawn"] = 900
    live.ended["mmap: bug: pool is empty"] += 1
    if found is not None:
        live.compared.disagreements.append(found.first)

    class Scripted:
        def __init__(self, kernel: object, system: object, watch: object) -> None:
            self.watch = watch

        def run(self, ops: int, seed: int) -> Live:
            self.watch(live)  # type: ignore[operator]
            return live

    return Scripted


def test_live_calibration_that_agrees(
    equivcheck: Program, kernel: type[ScriptedKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("equivalence.cli.live.LiveCalibration", lived(None))
    done = equivcheck("calibrate", "--live", "--seed", "3")
    assert done.status == 0, done.err
    assert "30 operations in 2 traces on 6.12.117+deb12-cloud-amd64, 900 fields" in done.err
    assert "ended 1 traces, not compared: mmap: bug: pool is empty" in done.err
    assert not Path("equivcheck-report").exists()


def test_live_calibration_that_differs_keeps_a_recording(
    equivcheck: Program, kernel: type[ScriptedKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = recording().trace()
    first = Disagreement("live3_0000", 7, "touch_write", "pool.free", 0, 1)
    monkeypatch.setattr(
        "equivalence.cli.live.LiveCalibration", lived(Found(first, trace, recording(), 12))
    )
    done = equivcheck("calibrate", "--live", "--out", "found")
    assert done.status == 1
    text = " ".join(done.out.split())
    assert "differs at operation 7 (touch_write): pool.free: kernel 0, step" in text
    assert f"minimal trace of {len(trace.ops)} operations (12 tried)" in text
    kept = Path("found", f"{NAME}.jsonl")
    assert kept.read_text() == dump(recording())
    command = done.out.split("replay: equivcheck ")[1].splitlines()[0].split()
    assert equivcheck(*command).status == 0, "the step that was recorded says the same"
