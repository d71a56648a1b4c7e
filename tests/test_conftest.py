"""A test whose needs are not met is skipped aloud, or fails where they were promised."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SPECIMEN = """
import pytest

@pytest.mark.needs_chromium
def test_page() -> None: ...

@pytest.mark.needs_kernel_source("0.01")
def test_tree() -> None: ...

@pytest.mark.nightly
def test_long() -> None: ...

def test_short() -> None: ...
"""


def run_specimen(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the specimen under our configuration, on a machine without any Debian package."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    tests = folder / "tests"
    tests.mkdir()
    shutil.copy(ROOT / "tests/conftest.py", tests)
    (tests / "test_specimen.py").write_text(SPECIMEN)
    ours = ("COVERAGE", "EQUIVCHECK")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=folder,
        env=clean | {"PATH": str(folder)} | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_is_skipped_is_said_with_the_command_that_enables_it(
    tmp_path: Path, workers: str
) -> None:
    done = run_specimen(tmp_path, "-n", workers)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped" in done.stdout
    said = done.stdout.partition("SKIPPED, so not shown by this run")[2]
    assert "1 tests: needs /usr/src/linux-source-0.01.tar.xz: make test INSTALL=1" in said
    assert "1 tests: needs chromium: make test INSTALL=1" in said
    assert "1 tests: nightly: make nightly" in said


def test_what_was_promised_is_not_skipped(tmp_path: Path) -> None:
    done = run_specimen(tmp_path, EQUIVCHECK_TESTS_REQUIRE_ALL="1")
    assert done.returncode == 1
    assert "1 passed, 1 skipped, 2 errors" in done.stdout
    assert "needs chromium, which `make test INSTALL=1` should have installed" in done.stdout


def test_nightly_tests_run_when_asked(tmp_path: Path) -> None:
    done = run_specimen(tmp_path, "-m", "nightly")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 deselected" in done.stdout
