"""Runs the public command as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from models.schema.result import Pair, Result, parse_result

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = Path(sys.executable).with_name("equivcheck")
TIME_LIMIT_S = 900


class Ran(NamedTuple):
    """What a run left: its exit status, its result, and that as it was written."""

    status: int
    result: Result
    text: str


def run(series: str, out: Path, *options: str, cwd: Path = ROOT, hash_seed: str = "0") -> Ran:
    """``equivcheck run`` of a series of ours, against the predecessor only.

    Coverage is not measured in there: these runs are measured by what they find.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    env |= {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    words = [
        *(str(COMMAND), "run", "--series", series, "--against", "previous"),
        *("--out", str(out), "--format", "json", *options),
    ]
    if "--jobs" not in options:
        words += ["--jobs", "1"]
    done = subprocess.run(
        words, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    path = cwd / out / "result.json"
    assert path.is_file(), done.stderr
    text = path.read_text()
    return Ran(done.returncode, parse_result(text), text)


def pair(result: Result, after: int) -> Pair:
    """The pair of a step and its predecessor."""
    return next(p for p in result.pairs if p.after == after and p.against == "previous")


def found(one: Pair) -> tuple[str, tuple[str, ...]]:
    """Field and minimal trace of a pair's counterexample: the world line, and the operations."""
    example = one.counterexample
    assert example is not None, f"{one.verdict.value}: {one.reason}"
    assert example.shrinking is not None
    assert example.shrinking.complete
    lines = example.trace.splitlines()[1:]
    return example.field, tuple(line for line in lines if not line.startswith("#"))
