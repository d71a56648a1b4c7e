"""`equivcheck run`: verdicts, files, exit statuses, and that a run repeats."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from equivalence.campaign import PROFILES
from equivalence.cli.run import command_line, run
from models.schema.result import parse_result
from tests.equivalence.cli.program import AGREEING, GREEDY, TAKE_THREE, Program, start

FOLDER = str(Path(__file__).resolve().parent)


def steady(out: str) -> str:
    """The output without what depends on how a search went; other tests hold that it repeats."""
    out = re.sub(r"(?m)(verdict|divergence|diverged) +([0-9,]+) +[0-9,]+", r"\1 OPS STATES", out)
    out = re.sub(r"no divergence in [0-9,]+ ops", "no divergence in OPS ops", out)
    return re.sub(r"shrunk from [0-9]+ ops in [0-9]+ runs", "shrunk", out).replace(FOLDER, "tests")


def test_what_is_printed_of_a_divergence(equivcheck: Program, snapshot: SnapshotAssertion) -> None:
    done = equivcheck("run", *GREEDY, "--ops", "2000", "--jobs", "1")
    assert done.status == 1
    assert steady(done.out) == snapshot
    assert max(len(line) for line in done.out.splitlines() if "replay" not in line) <= 80


def test_what_is_printed_when_nothing_differs(
    equivcheck: Program, snapshot: SnapshotAssertion
) -> None:
    done = equivcheck("run", *AGREEING, "--ops", "2000", "--against", "previous", "--jobs", "1")
    assert done.status == 0
    assert steady(done.out) == snapshot


def test_the_replay_command_that_is_printed_replays(equivcheck: Program) -> None:
    done = equivcheck("run", *GREEDY, "--ops", "1000", "--jobs", "1")
    (command,) = {line for line in done.out.splitlines() if "replay" in line and "diverg" in line}
    again = equivcheck(*command.split("replay: equivcheck ")[1].split())
    assert again.status == 1
    assert "diverged after op 0 (take who=A n=3)" in again.out


def test_the_files_of_a_run(equivcheck: Program) -> None:
    equivcheck("run", *GREEDY, "--ops", "1000", "--out", "found", "--jobs", "1")
    result = parse_result(Path("found/result.json").read_text())
    assert result.exit_status == 1
    assert result.command == f"equivcheck run {' '.join(GREEDY)} --ops 1000 --jobs 1"
    kept = [p.counterexample.reproducer for p in result.pairs if p.counterexample]
    assert len(kept) == 2
    assert all(Path(str(name)).is_file() for name in kept)
    assert "<!doctype html>" in Path("found/report.html").read_text()


def test_two_runs_are_the_same_bytes_apart_from_times(equivcheck: Program) -> None:
    texts = []
    for jobs, folder in (("1", "out-one"), ("1", "out-two")):
        equivcheck("run", *GREEDY, "--ops", "1500", "--jobs", jobs, "--out", folder)
        result = json.loads(Path(folder, "result.json").read_text().replace(folder, "OUT"))
        assert result.pop("timing")["seconds"] > 0
        texts.append(json.dumps(result))
    assert texts[0] == texts[1]


def test_another_hash_seed_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        command = ("run", *GREEDY, "--ops", "1000", "--jobs", "2", "--out", f"out{seed}")
        with start(*command, cwd=tmp_path) as program:
            program.communicate(timeout=120)
        text = (tmp_path / f"out{seed}/result.json").read_text().replace(f"out{seed}", "OUT")
        result = json.loads(text)
        del result["timing"]
        texts.append(json.dumps(result))
    assert texts[0] == texts[1]


def test_a_kept_trace_is_replayed_first(equivcheck: Program) -> None:
    Path("kept").mkdir()
    Path("kept/mine.trace").write_text(TAKE_THREE)
    done = equivcheck("run", *GREEDY, "--store", "kept", "--jobs", "1", "--ops", "100")
    assert done.status == 1
    result = parse_result(Path("equivcheck-report/result.json").read_text())
    (last,) = [p for p in result.pairs if (p.before, p.after) == (1, 2)]
    assert [search.name for search in last.evidence.searches] == ["kept"]


def test_a_declared_change_is_waived_at_the_head(equivcheck: Program) -> None:
    done = equivcheck("run", *GREEDY, "--ops", "2000", "--expect-change", "2", "--jobs", "1")
    assert done.status == 0
    assert "Waiver: patch 2 may change behaviour: the command line says so" in done.out
    assert "changed-as-declared" in done.out


def test_a_declared_change_that_is_not_there(equivcheck: Program) -> None:
    done = equivcheck("run", *AGREEING, "--ops", "2000", "--expect-change", "2", "--jobs", "1")
    assert done.status == 1
    assert "the declared change was not seen" in done.out


def test_too_few_operations_earn_no_verdict(equivcheck: Program) -> None:
    done = equivcheck("run", *AGREEING, "--ops", "1", "--jobs", "1")
    assert done.status == 3
    assert "- missing: " in done.out


def test_the_time_limit_is_said(equivcheck: Program) -> None:
    done = equivcheck(
        *("run", *AGREEING, "--profile", "nightly", "--time-limit", "0.5s", "--jobs", "1")
    )
    assert done.status == 3
    assert "Ending early: the time limit of 0.5 s was reached" in done.err
    assert "cut short by the time limit of 0.5 s" in " ".join(done.out.split())
    result = parse_result(Path("equivcheck-report/result.json").read_text())
    assert result.limits.truncated
    assert result.limits.ops == PROFILES["nightly"]
    assert "--profile nightly" in result.command
    assert "--time-limit 0.5s" in result.command


def test_ctrl_c_saves_what_was_found(tmp_path: Path) -> None:
    with start("run", *GREEDY, "--ops", "200000", "--jobs", "2", cwd=tmp_path) as program:
        assert program.stderr is not None
        for line in program.stderr:
            if line.startswith("[3/6]"):
                break
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in out
    result = parse_result((tmp_path / "equivcheck-report/result.json").read_text())
    assert result.exit_status == 130
    assert result.limits.interrupted
    assert result.pairs


def test_the_command_that_repeats_a_run_has_every_option_that_matters() -> None:
    words: tuple[str, ...] = (
        *GREEDY,
        "--trust-trailers",
        "--expect-change",
        "1",
        "--expect-change",
        "2",
    )
    words += ("--time-limit", "30000h", "--out", "elsewhere", "--format", "json")
    with run.make_context("run", list(words)) as context:
        told = command_line(context).split()
    assert told[:2] == ["equivcheck", "run"]
    with run.make_context("run", told[2:]) as again:
        assert again.params["time_limit"] == 30_000 * 3600
        assert again.params["expect_change"] == (1, 2)
        assert again.params["trust_trailers"]
        assert again.params["series"] == GREEDY[1]
    assert "elsewhere" not in told
    assert "json" not in told


def test_bad_options(equivcheck: Program) -> None:
    say = equivcheck.refuses
    assert "no such option" in say("run", "--nope").lower()
    assert "'x' is no format, expected some of" in say("run", "--format", "x")
    assert "',' is no format" in say("run", "--format", ",")
    assert "'soon' is no duration, expected one such as 60s" in say("run", "--time-limit", "soon")
    long = "9" * 400 + "h"
    assert "is longer than 87,600 hours" in say("run", "--time-limit", long)
    assert "the series has 2 patches" in say("run", *GREEDY, "--expect-change", "3")
    assert "there is none of that name; expected vma-dependence" in say("run", "--series", "x")
    assert "x.py: there is no such file" in say("run", "--series", "x.py")


def test_a_series_file_that_is_none(equivcheck: Program) -> None:
    Path("raises.py").write_text("1 / 0\n")
    Path("empty.py").write_text("")
    Path("number.py").write_text("SERIES = 3\n")
    say = equivcheck.refuses
    assert "running it raised ZeroDivisionError" in say("run", "--series", "raises.py")
    assert "SERIES is nothing, expected an equivalence.series.Series" in say(
        *("run", "--series", "empty.py")
    )
    assert "SERIES is a int" in say("run", "--series", "number.py")


def test_paths_that_cannot_be_written(equivcheck: Program) -> None:
    Path("file").write_text("")
    message = equivcheck.refuses("run", *GREEDY, "--out", "file")
    assert message.startswith("equivcheck: file: cannot be written")
    assert "name another with --out" in message
    message = equivcheck.refuses("run", *GREEDY, "--store", "file/store")
    assert "store file/store: cannot be written" in message


def test_a_kept_trace_that_is_none(equivcheck: Program) -> None:
    Path("kept").mkdir()
    Path("kept/broken.trace").write_text("equivcheck-trace/9 toy\nworld pages=1\n")
    message = equivcheck.refuses("run", *GREEDY, "--store", "kept")
    assert "kept/broken.trace: first line is 'equivcheck-trace/9 toy'" in message


def test_the_result_is_printed_even_if_it_cannot_be_written(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("equivcheck-report").mkdir()
    Path("equivcheck-report/result.json").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = equivcheck("run", *AGREEING, "--ops", "2000", "--jobs", "1")
    assert done.status == 2
    assert "No space left on device" in done.err
    assert re.search(r"patch 1 +previous +no-divergence", done.out)
    assert Path("equivcheck-report/result.json").read_text() == "old"
    assert not list(Path("equivcheck-report").glob(".*.part"))
