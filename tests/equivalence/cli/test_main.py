"""What every command has in common: help, errors, pipes."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import click
import pytest
from rich.console import Console

from equivalence import cli
from equivalence.cli import COMMANDS, guarded
from equivalence.cli.progress import Lines
from equivalence.events import ExploreProgress, PairName
from equivalence.explorer import Exploring
from tests.equivalence.cli.program import GREEDY, PROGRAM, Program


def test_help_names_every_command(equivcheck: Program) -> None:
    done = equivcheck("--help")
    assert done.status == 0
    assert all(f"\n  {name} " in done.out for name in COMMANDS)
    for name in COMMANDS:
        assert f"Usage: equivcheck {name} " in equivcheck(name, "--help").out


def test_version(equivcheck: Program) -> None:
    assert equivcheck("--version").out.startswith("equivcheck 0.")


def test_no_command_and_no_such_command(equivcheck: Program) -> None:
    assert "Usage: equivcheck" in equivcheck.refuses()
    message = equivcheck.refuses("walk")
    assert message.startswith("equivcheck: No such command 'walk'")
    assert "Try 'equivcheck --help'." in message


def test_ctrl_c_outside_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def aborted() -> None:
        raise click.Abort

    for command in (interrupted, aborted):
        assert guarded(command) == 130
    assert capsys.readouterr().err.count("equivcheck: interrupted") == 2


def test_an_error_of_ours_is_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        msg = "tower collapsed"
        raise RuntimeError(msg)

    assert guarded(fails) == 4
    err = capsys.readouterr().err
    assert "an error of equivcheck itself: RuntimeError: tower collapsed" in err
    assert "Traceback" not in err
    monkeypatch.setenv("EQUIVCHECK_DEBUG", "1")
    assert guarded(fails) == 4
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "status"), [(lambda: 3, 3), (lambda: None, 0)])
def test_the_status_of_a_command(command: Callable[[], object], status: int) -> None:
    assert guarded(command) == status


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "show", "--step", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        program.stdout.close()
        assert program.stderr is not None
        err = program.stderr.read()
    assert program.returncode == 141
    assert err == ""


def test_a_folder_that_is_gone(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path.cwd().rmdir()
    message = equivcheck.refuses("run", *GREEDY)
    assert message == "equivcheck: the current folder is gone; change to one that exists\n"


def test_an_exploration_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = PairName(0, 1, "patch 1", "previous")
    text = StringIO()
    lines = Lines(Console(file=text, width=80))
    now = Exploring("small", 1_200, 5_000, 4, 7, 2.0)
    lines(ExploreProgress(pair, now))
    assert text.getvalue() == "", "the last line was not long ago"
    monkeypatch.setattr("equivalence.cli.progress.EVERY_S", -1.0)
    lines(ExploreProgress(pair, now))
    lines(ExploreProgress(pair, replace(now, seconds=0.0)))
    told, started = text.getvalue().splitlines()
    assert "patch 1 against the base: world small, depth 4: 1,200 states, 7 to expand" in told
    assert told.endswith("5,000 transitions, 2,500/s")
    assert started.endswith("5,000 transitions, 0/s")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(terminal: bool, equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "80")
    else:
        monkeypatch.setattr("equivalence.cli.progress.EVERY_S", 0.0)
    done = equivcheck("run", *GREEDY, "--ops", "1000", "--jobs", "1")
    assert done.status == 1
    assert "[6/6] patch 2 against the base: diverged" in done.err
    assert "defect, not a divergence: warning: pool is large" in done.err
    assert ("\x1b[" in done.err) == terminal
    assert ("  step 0 (base) against itself: 500 of 500 ops" in done.err) != terminal


@pytest.mark.parametrize("error", [SystemExit(1), BrokenPipeError()])
def test_a_broken_pipe_is_no_divergence(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Click itself ends the program with 1 then."""

    def ends() -> None:
        raise error

    monkeypatch.setattr(cli, "_nobody_reads", lambda: 141)
    assert guarded(ends) == 141
