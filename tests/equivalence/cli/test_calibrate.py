"""`equivcheck calibrate`, and `equivcheck replay` of recordings."""

import json
from pathlib import Path

import pytest

from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.recording import dump
from tests.equivalence.cli.program import GREEDY, Program

#: The kernel that was recorded copies for an owner differently from the base.
NAME = "s06_fork_child_cow_no_page_sigbus"


@pytest.fixture
def recording() -> Path:
    (found,) = [one for one in corpus() if one.name == NAME]
    path = Path(f"{NAME}.jsonl")
    path.write_text(dump(found))
    return path


@pytest.fixture
def wrong(recording: Path) -> Path:
    lines = recording.read_text().splitlines()
    line = json.loads(lines[4])
    line["pool"]["resv"] -= 3
    lines[4] = json.dumps(line)
    path = Path("wrong/wrong.jsonl")
    path.parent.mkdir()
    path.write_text("\n".join(lines).replace(f'"{NAME}"', '"wrong"') + "\n")
    return path


def test_the_recordings_agree_with_the_step_that_was_recorded(equivcheck: Program) -> None:
    done = equivcheck("calibrate")
    assert done.status == 0, done.out
    assert "467 of 467 recordings agree with step" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_the_base_is_another_kernel(equivcheck: Program) -> None:
    done = equivcheck("calibrate", "--step", "0")
    assert done.status == 1
    assert "recordings disagree (--format json has all)" in done.out
    name = done.out.split("replay: equivcheck replay ")[1].split()[0]
    again = equivcheck("replay", name, "--series", "stable-6.12.y", "--step", "0")
    assert again.status == 1
    assert "disagrees at operation" in again.out
    assert equivcheck("replay", name).status == 0


def test_a_field_that_is_wrong_is_named_with_both_values(equivcheck: Program, wrong: Path) -> None:
    for given, file in ((wrong, wrong), (wrong.parent, wrong)):
        done = equivcheck("calibrate", str(given))
        assert done.status == 1
        assert "disagrees: wrong: touch_write (operation 4)" in done.out
        assert "pool.resv: recorded -3, computed 0" in done.out
        assert f"replay: equivcheck replay {file} --series stable-6.12.y --step" in done.out
        assert "operations behind a disagreement not compared" in " ".join(done.out.split())
    again = equivcheck("replay", str(wrong))
    assert again.status == 1
    assert "disagrees at operation 4 (touch_write): pool.resv" in again.out


def test_a_recording_in_another_folder_is_named_as_one_that_comes_with_equivcheck(
    equivcheck: Program, wrong: Path
) -> None:
    Path("empty").mkdir()
    Path("empty/other.jsonl").write_text(Path(f"{NAME}.jsonl").read_text())
    done = equivcheck("calibrate", "empty", str(wrong.parent))
    assert done.status == 1
    assert f"replay: equivcheck replay {wrong} " in done.out


def test_what_a_step_says_of_each_operation(equivcheck: Program, recording: Path) -> None:
    """Refused numbers are left out; errors, signals and values are told in a word."""
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    lines[9]["op"], lines[9]["args"] = "fork", {"proc": "nobody", "child": "X"}
    del lines[8]  # a number is missing where an operation was refused
    recording.write_text("\n".join(map(json.dumps, lines)) + "\n")
    done = equivcheck("replay", str(recording))
    assert done.status == 1
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "8" not in rows
    assert "SIGBUS" in rows["7"]
    assert "refused" in rows["9"]
    assert "disagrees at operation 9 (fork)" in done.out


def test_json(equivcheck: Program, recording: Path, wrong: Path) -> None:
    done = equivcheck("calibrate", str(recording), str(wrong), "--format", "json")
    assert done.status == 1
    found = json.loads(done.out)
    assert found["schema"] == "equivcheck/calibration/1"
    assert found["traces"] == 2
    (one,) = found["disagreements"]
    assert one["trace"] == "wrong"
    assert (one["op"], one["field"]) == ("touch_write", "pool.resv")
    assert (one["recorded"], one["computed"]) == (-3, 0)


def test_a_recording_runs_on_pairs_of_steps_too(equivcheck: Program, recording: Path) -> None:
    done = equivcheck("replay", str(recording), "--steps", "0", "3")
    assert done.status == 0
    assert "step 0 and step 3: no difference" in done.out


def test_what_cannot_be_calibrated(equivcheck: Program, recording: Path) -> None:
    say = equivcheck.refuses
    assert "absent.jsonl" in say("calibrate", "absent.jsonl")
    Path("broken.jsonl").write_text("{}\n")
    assert "broken.jsonl" in say("calibrate", "broken.jsonl")
    assert "broken.jsonl" in say("replay", "broken.jsonl")
    assert "stable-6.12.y has steps 0 to" in say("calibrate", "--step", "99")
    assert "it is not made of ports" in say("calibrate", *GREEDY)
    assert "of subject 'hugetlb' only" in (
        say("replay", str(recording), *GREEDY, "--steps", "0", "1")
    )
    Path("a.trace").write_text("equivcheck-trace/1 hugetlb\nworld nodes=1\n")
    assert "expected --steps J K for a trace" in say("replay", "a.trace", "--step", "1")
