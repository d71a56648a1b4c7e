"""Edits of kernel code as recipes: where, a short anchor, and at most three lines instead.

No kernel text is kept here: a recipe is applied at test time to the tree that Debian ships, and
fails when its anchor does not match exactly once in the named function.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HUGETLB = "mm/hugetlb.c"
INODE = "fs/hugetlbfs/inode.c"
MOST_LINES = 3


class RecipeError(Exception):
    """An anchor that does not match exactly once, or a replacement that is too long."""


@dataclass(frozen=True)
class Edit:
    """Replace ``anchor`` in ``function`` of ``file`` by ``text``."""

    function: str
    anchor: str
    text: str
    file: str = HUGETLB

    def apply(self, source: str) -> str:
        """The edited source.

        Raises:
            RecipeError: as the class says.
        """
        if self.text.count("\n") >= MOST_LINES or self.anchor.count("\n") >= MOST_LINES:
            msg = f"{self.function}: more than {MOST_LINES} lines"
            raise RecipeError(msg)
        start, end = span(source, self.function)
        body = source[start:end]
        found = body.count(self.anchor)
        if found != 1:
            msg = f"{self.function}: {self.anchor!r} occurs {found} times, expected once"
            raise RecipeError(msg)
        return source[:start] + body.replace(self.anchor, self.text) + source[end:]


def span(source: str, function: str) -> tuple[int, int]:
    """Where a function's definition starts and ends."""
    pattern = rf"^[a-z][^;{{}}#/]*?\b{re.escape(function)}\([^;{{}}]*?\)\n\{{\n"
    found = list(re.finditer(pattern, source, re.MULTILINE))
    if len(found) != 1:
        msg = f"{function}: defined {len(found)} times, expected once"
        raise RecipeError(msg)
    end = source.index("\n}\n", found[0].end() - 1) + 3
    return found[0].start(), end


def apply(sources: dict[str, str], edits: Sequence[Edit]) -> dict[str, str]:
    """The files after the edits, in order.

    Raises:
        RecipeError: an edit does not fit.
    """
    made = dict(sources)
    for edit in edits:
        made[edit.file] = edit.apply(made[edit.file])
    return made


def format_patch(base: dict[str, str], *patches: tuple[str, dict[str, str]]) -> str:
    """What ``git format-patch`` writes of commits on ``base``: titles, and the files after each."""
    with tempfile.TemporaryDirectory(prefix="equivcheck-test-") as name:
        folder = Path(name)

        dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2024-01-01T00:00:00Z")

        def git(*words: str) -> str:
            return subprocess.run(
                ["git", "-c", "user.name=A Tester", "-c", "user.email=tester@example.org", *words],
                cwd=folder,
                env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **dates},
                capture_output=True,
                text=True,
                check=True,
            ).stdout

        git("init", "-q")
        for title, files in (("base", base), *patches):
            for file, text in files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(text)
            git("add", "-A")
            git("commit", "-q", "--allow-empty", "-s", "-m", f"{title}\n\nNo change intended.")
        return git("format-patch", "--stdout", f"--base=HEAD~{len(patches)}", f"-{len(patches)}")


def series(base: dict[str, str], patches: Sequence[tuple[str, Sequence[Edit]]]) -> str:
    """The mbox whose patches make the edits, one after the other.

    Raises:
        RecipeError: an edit does not fit.
    """
    made, now = [], base
    for title, edits in patches:
        now = apply(now, edits)
        made.append((title, now))
    return format_patch(base, *made)


#: Bugs planted in 6.12.117: what each breaks, and the edit.
PLANTED = (
    (
        "enqueue forgets the node's count",
        Edit("enqueue_hugetlb_folio", "\th->free_huge_pages_node[nid]++;\n", ""),
    ),
    ("enqueue at the tail", Edit("enqueue_hugetlb_folio", "list_move(", "list_move_tail(")),
    (
        "region_abort leaves the pending add",
        Edit(
            "region_abort",
            "resv->adds_in_progress -= regions_needed;",
            "resv->adds_in_progress -= regions_needed > 1;",
        ),
    ),
    (
        "surplus counted twice",
        Edit(
            "alloc_surplus_hugetlb_folio", "h->surplus_huge_pages++;", "h->surplus_huge_pages += 2;"
        ),
    ),
    (
        "available without reserve",
        Edit(
            "available_huge_pages", "h->free_huge_pages - h->resv_huge_pages", "h->free_huge_pages"
        ),
    ),
    ("free keeps the reservation", Edit("free_huge_folio", "h->resv_huge_pages++;", ";")),
    (
        "hole punch frees no reservation",
        Edit("remove_inode_single_folio", "index + 1, 1)", "index + 1, 0)", INODE),
    ),
    (
        "shrink below what is used",
        Edit(
            "set_max_huge_pages",
            "min_count = h->resv_huge_pages + h->nr_huge_pages - h->free_huge_pages;",
            "min_count = h->nr_huge_pages - h->free_huge_pages;",
        ),
    ),
)

#: Rewrites that change nothing: each must stay without a report.
REWRITES = (
    (
        "swapped operands",
        Edit(
            "available_huge_pages",
            "return h->free_huge_pages - h->resv_huge_pages;",
            "return -(h->resv_huge_pages - h->free_huge_pages);",
        ),
    ),
    (
        "inverted condition",
        Edit(
            "vma_has_reserves",
            "if (vma->vm_flags & VM_NORESERVE) {",
            "if (!!(vma->vm_flags & VM_NORESERVE)) {",
        ),
    ),
    (
        "hoisted pure call",
        Edit(
            "enqueue_hugetlb_folio",
            "int nid = folio_nid(folio);",
            "struct folio *same = folio;\n\tint nid = folio_nid(same);",
        ),
    ),
)
