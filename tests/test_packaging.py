"""What is released: the wheel holds the product and nothing else; the lock is exact."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"equivalence", "models", "legacy", "refactored", "reports", "stable"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("equivcheck-*.whl")
    return built


def tracked_files() -> set[str]:
    """Files of the product that git knows; skips the test where there is no git tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *sorted(PACKAGES)], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git tree, so the list of the product's files is unknown")
    return {name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()}


def test_wheel_holds_every_file_of_the_product_and_no_other_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not tracked_files() - names
    tops = {name.split("/")[0] for name in names}
    (info,) = tops - PACKAGES
    assert re.fullmatch(r"equivcheck-[0-9.]+\.dist-info", info)
    assert f"{info}/licenses/LICENSE" in names


def test_wheel_runs_away_from_the_tree(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import equivalence.cli\n"
        f"assert equivalence.cli.__file__.startswith({str(tmp_path)!r})\n"
        "sys.argv[:] = ['equivcheck', '--help']\n"
        "sys.exit(equivalence.cli.main())\n"
    )
    # Coverage would take the unpacked copy for the product.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "calibrate" in done.stdout


def test_lock_pins_every_dependency_by_hash_and_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = {}
    for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", lock).strip()):
        name, version = re.match(r"([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", entry).groups()  # type: ignore[union-attr]
        assert "--hash=sha256:" in entry, name
        pinned[name] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    for dependency in asked:
        name = re.split(r"[^a-z0-9-]", dependency)[0]
        assert name in pinned, f"{name} is in pyproject.toml and not in the lock: make lock"


def test_license_is_the_kernels() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE\n                       Version 2, June 1991" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["license"] == "GPL-2.0-only"
