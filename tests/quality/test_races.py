"""Races planted in the ports, found by the public command, made minimal and replayed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from equivalence.schedule import parse_schedule
from models.schema.result import Verdict
from models.schema.trace import parse_trace
from tests.quality.command import COMMAND, ROOT, pair, run


@pytest.mark.nightly
def test_a_planted_race_is_found_and_replayed(tmp_path: Path) -> None:
    series = "tests.quality.races:moved_check"
    words = ("--tasks", "2", "--ops", "20000", "--seed", "1", "--jobs", "2")
    ran = run(series, tmp_path / "report", *words)
    assert ran.status == 1
    one = pair(ran.result, 1)
    assert one.verdict is Verdict.DIVERGED
    assert one.counterexample is not None
    trace = parse_trace(one.counterexample.trace)
    assert len(trace.ops) <= 12
    assert len(parse_schedule(trace.schedule).switches) <= 2
    assert one.counterexample.reproducer is not None
    done = subprocess.run(
        [str(COMMAND), "replay", "--series", series, one.counterexample.reproducer],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "diverged" in done.stdout
