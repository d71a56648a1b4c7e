"""``equivcheck run --tier native``: what a reviewer types, from the command to the exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from equivalence.backends.native.tree import KernelTree
from tests.backends.native import recipes
from tests.backends.native.recipes import Edit

needs_kernel = pytest.mark.needs_kernel_source("6.12")
needs_tools = pytest.mark.needs_toolchain
Maker = Callable[[dict[str, str]], KernelTree]
Patches = tuple[tuple[str, tuple[Edit, ...]], ...]


PROGRAM = (sys.executable, "-c", "import sys, equivalence.cli; sys.exit(equivalence.cli.main())")


def equivcheck(
    *words: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        [*PROGRAM, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def mbox(base: dict[str, str], patches: Patches, path: Path) -> Path:
    """Write the series that makes the edits, one patch after the other."""
    path.write_text(recipes.series(base, patches))
    return path


def result_of(folder: Path) -> dict[str, Any]:
    """What the run wrote."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@needs_kernel
@pytest.mark.nightly
@needs_tools
def test_a_line_that_never_runs_is_named(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    """A change to what no operation reaches: what is printed when memory runs out."""
    edit = Edit(
        "hugetlb_show_meminfo_node", "for_each_hstate(h)", "for_each_hstate(h) if (h->order)"
    )
    tree = edited(sources)
    series = mbox(sources, (("mm/hugetlb: say less", (edit,)),), tmp_path / "s.mbox")
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", series, "--ops", 600),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    [pair] = [
        p for p in result_of(tmp_path / "equivcheck-report")["pairs"] if p["against"] == "previous"
    ]
    assert pair["verdict"] == "inadequate"
    assert "hugetlb_show_meminfo_node did not run" in pair["reason"]
    assert "mm/hugetlb.c:" in pair["reason"]


def other_mail(name: str, before: str, after: str) -> str:
    """A patch of one line."""
    return recipes.format_patch({name: before}, (f"{name}: change it", {name: after}))


@needs_kernel
@needs_tools
def test_what_is_not_hosted_is_named(tree: KernelTree, tmp_path: Path) -> None:
    name = "mm/slub.c"
    text = (tree.root / name).read_text()
    head, _, rest = text.partition("\n")
    (tmp_path / "s.mbox").write_text(other_mail(name, text, f"{head} \n{rest}"))
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", "s.mbox", "--ops", 600),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    [pair] = [
        p for p in result_of(tmp_path / "equivcheck-report")["pairs"] if p["against"] == "previous"
    ]
    assert pair["verdict"] == "not-checked"
    assert "mm/slub.c" in pair["reason"]


@needs_kernel
@needs_tools
def test_identical_does_not_apply_does_not_compile(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    """Three patches: a comment, a member that does not exist, and one for another file's state."""
    where = ("enqueue_hugetlb_folio", "h->free_huge_pages++;")
    patches: Patches = (
        ("mm: say more", (Edit(*where, "/* one more */\n\th->free_huge_pages++;"),)),
        ("mm: break it", (Edit(*where, "h->no_such_member++;"),)),
    )
    series = mbox(sources, patches, tmp_path / "s.mbox")
    last = recipes.format_patch(
        {recipes.HUGETLB: "a\nb\nc\n"}, ("mm: not this tree", {recipes.HUGETLB: "a\nd\nc\n"})
    )
    first = (
        series.read_text()
        .replace("[PATCH 1/2]", "[PATCH 1/3]")
        .replace("[PATCH 2/2]", "[PATCH 2/3]")
    )
    series.write_text(first + last.replace("[PATCH]", "[PATCH 3/3]"))
    tree = edited(sources)
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", series, "--ops", 600),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    verdicts = {
        (p["before"], p["after"]): (p["verdict"], p["reason"])
        for p in result_of(tmp_path / "equivcheck-report")["pairs"]
    }
    assert verdicts[0, 1][0] == "identical"
    assert verdicts[1, 2][0] == "not-checked"
    assert "no member named 'no_such_member'" in verdicts[1, 2][1]
    assert verdicts[3, 3][0] == "not-checked"
    assert "patch 3 'mm: not this tree' does not apply" in verdicts[3, 3][1]
