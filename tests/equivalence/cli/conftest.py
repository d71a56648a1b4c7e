from pathlib import Path

import pytest

from tests.equivalence.cli.program import Program


@pytest.fixture
def equivcheck(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Program:
    """The command line, run in ``tmp_path``, without colour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return Program(capsys, monkeypatch)
