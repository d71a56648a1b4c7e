"""The gates of `make test`, in order: each with its banner, its time and its own exit code.

The first gate that fails ends the run and names itself; what did not run is printed as SKIPPED
with the reason. Standard library only: it must be able to report that the environment is broken.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# What some tests need beyond Python, and what for.
DEBIAN_PACKAGES = {
    "linux-source-6.12": "the kernel tree that the native tier compiles",
    "linux-source-6.1": "an older kernel tree, to show that the tier is not made for one",
    "gcc": "native tier",
    "make": "native tier",
    "flex": "kernel configuration",
    "bison": "kernel configuration",
    "bc": "kernel configuration",
    "libelf-dev": "kernel configuration",
    "libssl-dev": "kernel configuration",
    "bubblewrap": "isolation of code under check",
    "chromium": "the reports in a real browser",
    "qemu-system-x86": "recordings of a booted kernel",
    "cpio": "recordings of a booted kernel",
    "xz-utils": "kernel trees and recordings are .tar.xz",
}

# The engine is to be covered whole. The subjects and the native tier are measured by adequacy
# instead, and the latter needs packages that are not everywhere.
ENGINE = "equivalence/*"
NOT_ENGINE = "equivalence/subjects/*,equivalence/backends/native/*"
# All of it is to run. Some tests kill processes, and what those had written down is lost with them:
# hence not 100.
ENGINE_PERCENT = 99
PORTS = ("models", "legacy", "refactored", "stable")


class GateError(Exception):
    """A gate said no; the text says what, where its own output did not."""


@dataclass(frozen=True)
class Options:
    """What was asked on the command line."""

    install: bool
    nightly: bool
    pytest_args: list[str]

    @property
    def partial(self) -> bool:
        """Whether only some of the tests run, so that coverage says nothing."""
        return bool(self.pytest_args)


class Gate(NamedTuple):
    """One gate: its name in banners, its exit code when it fails, and what it does."""

    name: str
    exit_code: int
    check: Callable[[Options], None]


def skipped(what: str, reason: str) -> None:
    """Say aloud that something did not run."""
    print(f"SKIPPED {what}: {reason}", flush=True)


def call(
    *command: str | Path, time_limit_s: float = 600, env: dict[str, str] | None = None
) -> None:
    """Run a command at the root of the repository.

    Raises GateError when it exits with another status than 0, or takes longer than the limit.
    """
    words = [str(word) for word in command]
    print("$ " + " ".join(word.removeprefix(f"{ROOT}/") for word in words), flush=True)
    try:
        done = subprocess.run(
            words, cwd=ROOT, env=os.environ | (env or {}), timeout=time_limit_s, check=False
        )
    except subprocess.TimeoutExpired as err:
        msg = f"{words[0]} took longer than {time_limit_s:.0f} s and was ended"
        raise GateError(msg) from err
    except FileNotFoundError as err:
        msg = f"{words[0]} is not there; `make venv` installs what the gates run"
        raise GateError(msg) from err
    if done.returncode != 0:
        msg = f"{Path(words[0]).name} exited with status {done.returncode}"
        raise GateError(msg)


def ranges(lines: list[int]) -> str:
    """Line numbers in ascending order, with runs drawn together: `3, 5-7`."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def install_packages(options: Options) -> None:
    """Install the Debian packages that some tests need; only as root, and only when asked."""
    if not options.install:
        skipped(
            "Debian packages", "not asked for; tests that need one are skipped unless it is there"
        )
        print("        `make test INSTALL=1` (as root) installs them and runs every test")
        return
    print("Installing these Debian packages:")
    for name, purpose in DEBIAN_PACKAGES.items():
        print(f"  {name:20} {purpose}")
    if os.geteuid() != 0:
        msg = (
            "INSTALL=1 runs apt-get, which needs root, and this is not root. Run "
            "`sudo make test INSTALL=1`, or install the packages above and run `make test`"
        )
        raise GateError(msg)
    if shutil.which("apt-get") is None:
        msg = (
            "INSTALL=1 needs apt-get, which is not there. Install the like of the packages above "
            "with your system's own means and run `make test`"
        )
        raise GateError(msg)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    call("apt-get", "-qq", "update", env=quiet)
    call(
        *("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "install", "--yes"),
        *("--no-install-recommends", *DEBIAN_PACKAGES),
        time_limit_s=1200,
        env=quiet,
    )


def ruff_format(_options: Options) -> None:
    """Formatting; `make format` mends it."""
    call(BIN / "ruff", "format", "--check")


def ruff_check(_options: Options) -> None:
    """Lint."""
    call(BIN / "ruff", "check")


def mypy(_options: Options) -> None:
    """Types, tests included."""
    call(BIN / "mypy")


def import_linter(_options: Options) -> None:
    """The directions of imports."""
    call(BIN / "lint-imports", "--no-logo")


def pytest(options: Options) -> None:
    """The tests, under coverage, on two workers."""
    env = {"EQUIVCHECK_TESTS_REQUIRE_ALL": "1"} if options.install else {}
    call(
        *(BIN / "python", "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--durations=15"),
        *("--hypothesis-profile=ci", "--cov", "--cov-report="),
        *options.pytest_args,
        time_limit_s=3000,
        env=env,
    )


def engine_coverage(options: Options) -> None:
    """Lines and branches of the engine ran in the tests, up to the ratchet."""
    if options.partial:
        skipped("coverage of the engine", "only some tests were asked for")
        return
    call(
        *(BIN / "coverage", "report", f"--include={ENGINE}", f"--omit={NOT_ENGINE}"),
        f"--fail-under={ENGINE_PERCENT}",
    )


def port_coverage(options: Options) -> None:
    """Say which functions of the ports did not run whole; a report, no demand."""
    if options.partial:
        skipped("coverage of the ports", "only some tests were asked for")
        return
    include = ",".join(f"{package}/*" for package in PORTS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        call(BIN / "coverage", "json", "--quiet", f"--include={include}", "-o", path)
        files = json.loads(path.read_text())["files"]
    whole = 0
    for file, measured in sorted(files.items()):
        for function, region in measured["functions"].items():
            summary = region["summary"]
            if not function or not summary["num_statements"]:
                continue
            if not summary["missing_lines"] and not summary["missing_branches"]:
                whole += 1
                continue
            lines = ranges(region["missing_lines"])
            print(
                f"{summary['percent_covered']:4.0f}%  {file}  {function}"
                + (f"  not lines {lines}" if lines else "  not all branches")
            )
    print(f"{whole} functions of {', '.join(PORTS)} ran whole; those above did not")


def nightly_tests(options: Options) -> None:
    """The tests marked nightly, with the profile of that name."""
    call(
        *(BIN / "python", "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-m", "nightly"),
        "--hypothesis-profile=nightly",
        *options.pytest_args,
        time_limit_s=4 * 3600,
    )


def nightly_run(_options: Options) -> None:
    """The built-in series at profile nightly."""
    call(BIN / "equivcheck", "run", "--profile", "nightly", time_limit_s=8 * 3600)


GATES = (
    Gate("Debian packages", 10, install_packages),
    Gate("ruff format", 11, ruff_format),
    Gate("ruff check", 12, ruff_check),
    Gate("mypy", 13, mypy),
    Gate("import-linter", 14, import_linter),
    Gate("pytest", 15, pytest),
    Gate("coverage of the engine", 16, engine_coverage),
    Gate("coverage of the ports", 17, port_coverage),
)
NIGHTLY_GATES = (
    Gate("nightly tests", 20, nightly_tests),
    Gate("nightly run", 21, nightly_run),
)


def run_gates(gates: tuple[Gate, ...], options: Options) -> int:
    """Run the gates in order; return 0, or the exit code of the first that failed."""
    began = time.monotonic()
    for gate in gates:
        print(f"\n=== {gate.name} ===", flush=True)
        start = time.monotonic()
        try:
            gate.check(options)
        except GateError as err:
            print(f"{gate.name}: {err}", file=sys.stderr)
            print(f"FAILED at: {gate.name} (exit {gate.exit_code})", file=sys.stderr)
            return gate.exit_code
        print(f"--- {gate.name}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\nAll gates agree, in {time.monotonic() - began:.0f} s")
    return 0


def main() -> int:
    """Read the command line and run the gates it asks for."""
    parser = argparse.ArgumentParser(description="Run the gates of `make test`.")
    parser.add_argument("--install", action="store_true", help="install the Debian packages first")
    parser.add_argument("--nightly", action="store_true", help="run the nightly gates instead")
    known, rest = parser.parse_known_args()
    options = Options(install=known.install, nightly=known.nightly, pytest_args=rest)
    try:
        return run_gates(NIGHTLY_GATES if options.nightly else GATES, options)
    except KeyboardInterrupt:
        print("\nInterrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
