"""The kernel's own parser reads our KTAP: Debian's copy of it, unpacked when the test runs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from equivalence.backends.native.cache import cache_folder, publish_folder
from models.schema.result import EXIT_STATUS, Result, Verdict
from reports import ktap
from tests.reports.results import every_verdict, hostile_alone, hostile_result, toy_result

ARCHIVE = Path("/usr/src/linux-source-6.12.tar.xz")
FOLDER = "linux-source-6.12/tools/testing/kunit"
#: Parses standard input; says what became of each test, and what it found wrong with the text.
PARSE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from kunit_parser import parse_run_tests
test = parse_run_tests(sys.stdin.read().splitlines())
print(json.dumps({
    "tests": [[one.name, one.status.name] for one in test.subtests],
    "errors": test.counts.errors,
}))
"""


@pytest.fixture(scope="module")
def parser() -> Path:
    """The folder with the parser."""
    stamp = ARCHIVE.stat()

    def fill(folder: Path) -> None:
        files = [f"{FOLDER}/{name}.py" for name in ("kunit_parser", "kunit_printer")]
        subprocess.run(
            ["tar", "-xJf", str(ARCHIVE), "--strip-components=4", *files], cwd=folder, check=True
        )

    name = f"kunit-6.12-{stamp.st_size}-{stamp.st_mtime_ns}"
    return publish_folder(cache_folder() / "sources" / name, fill)


@pytest.mark.needs_kernel_source("6.12")
@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_the_kernels_parser_reads_every_pair(make: Callable[[], Result], parser: Path) -> None:
    result = make()
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(parser)],
        input=ktap.write(result),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == 0, done.stdout
    assert [status for _, status in found["tests"]] == [_status(p.verdict) for p in result.pairs]


def _status(verdict: Verdict) -> str:
    if verdict is Verdict.NOT_CHECKED:
        return "SKIPPED"
    return "SUCCESS" if EXIT_STATUS[verdict] == 0 else "FAILURE"
