"""``equivcheck repro --tier native``: files from a trace on which the C differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from equivalence.backends.native.tree import KernelTree
from tests.backends.native.recipes import Edit
from tests.backends.native.test_cli import equivcheck, mbox

SUBPOOL = Edit(
    "hugepage_subpool_get_pages",
    "(spool->used_hpages + delta) <= spool->max_hpages",
    "(spool->used_hpages + delta) < spool->max_hpages",
)
TRACE = """\
equivcheck-trace/1 hugetlb
world nr_hugepages=1
spawn id=A
mount mount=h0 size=1
open proc=A fd=f1 mount=h0 name=x
fallocate proc=A fd=f1 off=0 len=1
"""


@pytest.mark.needs_kernel_source("6.12")
@pytest.mark.needs_toolchain
def test_both_sides_are_announced_as_the_c_has_them(
    tree: KernelTree, sources: dict[str, str], tmp_path: Path
) -> None:
    mbox(sources, (("mm/hugetlb: change nothing", (SUBPOOL,)),), tmp_path / "s.mbox")
    (tmp_path / "x.trace").write_text(TRACE)
    words = ("repro", "--tier", "native", "--tree", tree.root, "--series", "s.mbox", "x.trace")
    done = equivcheck(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    program = (tmp_path / "equivcheck-repro" / "x.c").read_text()
    assert "differ in outcome.ret after op 3 (fallocate proc=A fd=f1 off=0 len=1)" in program
    assert "{ 0, 0, 0, 0ULL, NULL, before_3 }" in program
    assert "{ -1, ENOSPC, 0, 0ULL, NULL, after_3 }" in program
    compiler = ["gcc", "-Wall", "-Wextra", "-Werror", "-o", "x", "equivcheck-repro/x.c"]
    subprocess.run(compiler, cwd=tmp_path, check=True)
    # The port of 6.12.117 does what the C does before the series.
    test = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "equivcheck-repro/test_x.py"]
    subprocess.run([sys.executable, *test], cwd=tmp_path, check=True, capture_output=True)
