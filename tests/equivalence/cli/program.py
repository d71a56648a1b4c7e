"""Runs the command line in this process, and as a program."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from equivalence.cli import main

FOLDER = Path(__file__).resolve().parent
GREEDY = ("--series", str(FOLDER / "series_greedy.py"))
AGREEING = ("--series", str(FOLDER / "series_agreeing.py"))
PROGRAM = (sys.executable, "-c", "import sys, equivalence.cli; sys.exit(equivalence.cli.main())")

TAKE_THREE = """\
equivcheck-trace/1 toy
world pages=2
grow n=0
take who=A n=3
give who=A
"""
HARMLESS = "equivcheck-trace/1 toy\nworld pages=2\ntake who=A n=1\n"


class Done(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


class Program:
    """The command line in a folder of its own; nothing of it is a terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *args: str) -> Done:
        """Run a command."""
        self._patch.setattr(sys, "argv", ["equivcheck", *args])
        self._capsys.readouterr()
        status = main()
        return Done(status, *self._capsys.readouterr())

    def refuses(self, *args: str) -> str:
        """The one message of a command that ends with status 2."""
        done = self(*args)
        assert done.status == 2, done
        assert done.out == ""
        assert "Traceback" not in done.err
        return done.err


def start(*args: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a command as a program of its own."""
    return subprocess.Popen(
        [*PROGRAM, *args],
        cwd=cwd,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
