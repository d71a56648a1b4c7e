"""The same run gives the same bytes apart from times, whatever the hash seed and the processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.quality.command import run


def told(tmp_path: Path, name: str, seed: str, *options: str, hash_seed: str = "0") -> str:
    """What a run says, without what tells of time and processes."""
    cwd = tmp_path / name
    cwd.mkdir()
    series = "tests.quality.planted:preferred_many"
    ran = run(
        series, Path("out"), "--ops", "1500", "--seed", seed, *options, cwd=cwd, hash_seed=hash_seed
    )
    result = json.loads(ran.text)
    assert result.pop("timing")["seconds"] > 0
    result["limits"].pop("jobs", None)
    result["command"] = result["command"].replace(" --jobs 2", " --jobs 1")
    assert result["pairs"][0]["against"] == "self"
    return json.dumps(result)


def test_a_run_repeats(tmp_path: Path) -> None:
    first = told(tmp_path, "first", "5")
    assert told(tmp_path, "second", "5") == first
    assert told(tmp_path, "other-hashes", "5", hash_seed="4711") == first


@pytest.mark.nightly
def test_neither_processes_nor_the_seed_itself_are_in_the_bytes(tmp_path: Path) -> None:
    first = told(tmp_path, "first", "5")
    assert told(tmp_path, "two-processes", "5", "--jobs", "2") == first
    assert told(tmp_path, "other-seed", "6") != first
