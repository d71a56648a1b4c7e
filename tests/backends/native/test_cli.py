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
    text, now = "", base
    for number, (title, edits) in enumerate(patches, start=1):
        after = recipes.apply(now, edits)
        text += recipes.mail(number, title, now, after)
        now = after
    path.write_text(text)
    return path


def result_of(folder: Path) -> dict[str, Any]:
    """What the run wrote."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@needs_kernel
@pytest.mark.nightly
@needs_tools
@pytest.mark.parametrize("relation", ["state", "user"])
def test_the_series(
    relation: str, sources: dict[str, str], edited: Maker, scratch: Path, tmp_path: Path
) -> None:
    """Three patches on the base's state: no divergence, and every changed line ran."""
    base = recipes.apply(sources, recipes.BASE)
    tree = edited(base)
    series = mbox(base, recipes.SERIES, tmp_path / "series.mbox")
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", series),
        *("--relation", relation, "--ops", 3000, "--against", "previous", "--out", "report"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = result_of(tmp_path / "report")
    assert result["tier"] == "native"
    pairs = [pair for pair in result["pairs"] if pair["against"] == "previous"]
    assert [pair["verdict"] for pair in pairs] == ["no-divergence"] * 3
    for pair in pairs:
        evidence = pair["evidence"]
        assert evidence["missing"] == []
        required = [
            point
            for function in evidence["coverage"]
            for side in ("before", "after")
            if function[side]
            for point in function[side]["missed"]
            if point["required"]
        ]
        assert required == []
        assert {f["function"] for f in evidence["coverage"]} >= {"alloc_hugetlb_folio"}
    left_out = {(one["section"], one["field"]) for one in result["not_compared"]}
    assert ("operations", "uffd_copy") in left_out
    assert ("memory cgroups", "*") in left_out


@needs_kernel
@pytest.mark.nightly
@needs_tools
@pytest.mark.parametrize("relation", ["state", "user"])
@pytest.mark.parametrize("variant", recipes.BROKEN, ids=[title for title, _ in recipes.BROKEN])
def test_the_broken_series(
    variant: tuple[str, tuple[Edit, ...]],
    relation: str,
    sources: dict[str, str],
    edited: Maker,
    tmp_path: Path,
) -> None:
    """Exit status 1, a minimal trace, and a command that replays it."""
    base = recipes.apply(sources, recipes.BASE)
    tree = edited(base)
    series = mbox(base, (variant,), tmp_path / "series.mbox")
    chosen = ("--tier", "native", "--tree", tree.root, "--series", series, "--relation", relation)
    done = equivcheck("run", *chosen, "--ops", 8000, "--out", "report", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    [pair] = [p for p in result_of(tmp_path / "report")["pairs"] if p["verdict"] == "diverged"]
    found = pair["counterexample"]
    assert found["ops"] <= 12
    again = equivcheck("replay", *chosen, found["reproducer"], cwd=tmp_path)
    assert again.returncode == 1, again.stdout + again.stderr


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
    return recipes.mail(1, f"{name}: change it", {name: before}, {name: after})


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
    last = recipes.mail(
        3, "mm: not this tree", {recipes.HUGETLB: "a\nb\nc\n"}, {recipes.HUGETLB: "a\nd\nc\n"}
    )
    series.write_text(series.read_text() + last)
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
