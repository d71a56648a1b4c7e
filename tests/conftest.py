"""Hypothesis profiles, and the tests that need more than Python: skipped aloud, or not at all.

A test that needs a Debian package carries a `needs_...` mark. Without the package it is skipped
with the command that enables it; under `make test INSTALL=1` the packages were just installed, so
a missing one is a failure, never a skip.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from equivalence.subjects.hugetlb.recorder import LiveKernel

ENABLE = "make test INSTALL=1"
# Set by tools/gates.py after it installed the packages.
REQUIRED = "EQUIVCHECK_TESTS_REQUIRE_ALL"

# Coverage, the other worker and shared machines make the time of one example meaningless.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)
# `pytest --hypothesis-profile=NAME` comes after this and wins.
settings.load_profile("quick")

PROGRAMS = {
    "needs_toolchain": ("gcc", "make", "flex", "bison", "bc"),
    "needs_bubblewrap": ("bwrap",),
    "needs_qemu": ("qemu-system-x86_64", "cpio", "xz"),
    "needs_chromium": ("chromium",),
}


def missing(mark: pytest.Mark) -> list[str]:
    """What the mark asks for and this machine lacks, by name; empty when nothing is missing."""
    if mark.name == "needs_kernel_source":
        version = mark.args[0] if mark.args else "6.12"
        archive = Path(f"/usr/src/linux-source-{version}.tar.xz")
        return [] if archive.is_file() else [str(archive)]
    return [name for name in PROGRAMS.get(mark.name, ()) if shutil.which(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Leave nightly tests to `make nightly`, unless `-m` says what to run."""
    if config.getoption("markexpr"):
        return
    nightly = pytest.mark.skip(reason="nightly: make nightly")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(nightly)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip aloud, or fail, the test whose needs are not met."""
    lacking = [name for mark in item.iter_markers() for name in missing(mark)]
    if not lacking:
        return
    names = ", ".join(dict.fromkeys(lacking))
    if os.environ.get(REQUIRED):
        pytest.fail(f"needs {names}, which `{ENABLE}` should have installed", pytrace=False)
    pytest.skip(f"needs {names}: {ENABLE}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end how many tests did not run, and what would run them."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("SKIPPED, so not shown by this run")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count:5} tests: {reason}")


@pytest.fixture(scope="module")
def kernel() -> "Iterator[LiveKernel]":
    """The recorded kernel in QEMU, one for all tests of a file: a boot takes seconds."""
    # Not at the top: a worker measures coverage only once this file is loaded.
    from equivalence.subjects.hugetlb import recorder

    try:
        recorder.find_parts(recorder.RECORDED_RELEASE)
    except recorder.MissingPartError as missing:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(str(missing))
    with recorder.LiveKernel(release=recorder.RECORDED_RELEASE) as live:
        yield live
