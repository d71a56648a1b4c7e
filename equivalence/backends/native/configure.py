"""Prepares a tree's configuration and generated headers in the cache, away from the tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from equivalence.backends.native import sandbox
from equivalence.backends.native.cache import publish_folder
from equivalence.backends.native.errors import BuildError, ToolMissingError
from equivalence.backends.native.tree import KernelTree

SHIM = Path(__file__).parent / "shim"

#: What building needs, and the package that has it.
TOOLS = {
    "gcc": "gcc",
    "ld": "binutils",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "addr2line": "binutils",
    "objdump": "binutils",
    "nm": "binutils",
    "perl": "perl",
    "bc": "bc",
}


def check_tools() -> None:
    """Raise unless everything that building needs is installed.

    Raises:
        ToolMissingError: names the programs and the command that installs them.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
        msg = (
            f"{', '.join(missing)} {verb} not installed, and building a tree needs them; on Debian "
            f"or Ubuntu: apt-get install {packages}"
        )
        raise ToolMissingError(msg)


def _last_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in lines:
        if "error" in line.lower() or "***" in line:
            return line[:300]
    return lines[-1][:300] if lines else "no output"


def prepare(tree: KernelTree, cache: Path) -> Path:
    """The folder with the tree's ``.config`` and generated headers, made if it is not there.

    Raises:
        ToolMissingError: a program is missing.
        BuildError: the tree cannot be configured; the message has make's own words.
    """
    check_tools()
    fragment = (SHIM / "kconfig.fragment").read_text()
    key = tree.configuration_key(fragment)

    def fill(folder: Path) -> None:
        options = folder / "fragment"
        options.write_text(fragment)
        make = ["make", "-s", "-C", str(tree.root), f"O={folder}"]
        for goal in ([f"KCONFIG_ALLCONFIG={options}", "allnoconfig"], ["-j2", "prepare0"]):
            try:
                done = sandbox.run([*make, *goal], read=tree.folders, write=[folder])
            except subprocess.TimeoutExpired:
                msg = f"{tree.root}: 'make {goal[-1]}' did not end within its time limit"
                raise BuildError(msg, where=goal[-1]) from None
            if done.returncode:
                msg = (
                    f"{tree.root}: 'make {goal[-1]}' failed: {_last_error(done.stderr)}. "
                    "The tree must be clean (make mrproper) and have its Kconfig files and scripts"
                )
                raise BuildError(msg, where=goal[-1], log=done.stderr)
        _forget_places(folder)

    return publish_folder(cache / "configuration" / key, fill)


def _forget_places(folder: Path) -> None:
    """Keep headers and the configuration only: the rest names this run's folders."""
    for entry in folder.iterdir():
        if entry.name in ("include", "arch", ".config"):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
