"""`equivcheck repro`: three files from a trace, and what cannot be made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.schema.trace import parse_trace
from tests.equivalence.cli.program import GREEDY, Program

ROOT = Path(__file__).resolve().parents[3]
DEQUEUE = ("--series", "tests.quality.planted:dequeue")
TRACE = """\
equivcheck-trace/1 hugetlb
world nr_hugepages=1
spawn id=A
mmap proc=A map=m1 type=private len=1
fork proc=A child=B
touch_write proc=B map=m1 page=0
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "child-1.trace"
    path.write_text(TRACE)
    return path


def test_the_files_of_a_divergence(equivcheck: Program, trace: Path) -> None:
    done = equivcheck("repro", str(trace), *DEQUEUE, "--out", "made")
    assert done.status == 0
    assert done.out.splitlines() == [
        "Written: made/child-1.c",
        "Written: made/test_child_1.py",
        "Written: made/child-1.trace",
    ]
    program = Path("made/child-1.c").read_text()
    assert "differ in outcome.signal after op 3 (touch_write proc=B map=m1 page=0)" in program
    assert "return store(MAP_m1, 0, 4);" in program
    assert "{ -1, 0, SIGBUS, 0ULL, NULL, before_3 }" in program
    assert "{ 0, 0, 0, 4ULL, NULL, after_3 }" in program
    assert parse_trace(Path("made/child-1.trace").read_text()) == parse_trace(TRACE)


def test_the_test_fails_while_the_steps_differ(equivcheck: Program, trace: Path) -> None:
    equivcheck("repro", str(trace), *DEQUEUE, "--out", "made")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "made/test_child_1.py"],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("COV")}
        | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "SIGBUS" in done.stdout


def test_a_trace_on_which_nothing_differs(equivcheck: Program, trace: Path) -> None:
    trace.write_text(TRACE + "fail_copy count=1\n")
    done = equivcheck("repro", str(trace), "--steps", "0", "2")
    assert done.status == 0
    assert "No pair differs on this trace; both sides announce the same." in done.out
    assert "Left out: op 4 (fail_copy count=1): user space cannot make the kernel fail" in done.out
    text = Path("equivcheck-repro/child-1.c").read_text()
    assert "before: step 0 (base)" in text
    assert "after:  step 2 (2/3 Refactor vma_has_reserves() to should_use_hstate_resv())" in text


def test_another_subject_is_refused(equivcheck: Program, trace: Path) -> None:
    done = equivcheck("repro", str(trace), *GREEDY)
    assert done.status == 2
    assert "expected 'hugetlb'" in done.err


def test_a_folder_that_cannot_be_written(equivcheck: Program, trace: Path) -> None:
    Path("file").write_text("")
    done = equivcheck("repro", str(trace), "--out", "file/made")
    assert done.status == 2
    assert "file/made: cannot be written" in done.err
