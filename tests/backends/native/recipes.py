"""Edits of kernel code as recipes: where, a short anchor, and at most three lines instead.

No kernel text is kept here: a recipe is applied at test time to the tree that Debian ships, and
fails when its anchor does not match exactly once in the named function.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

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


def mail(number: int, title: str, before: dict[str, str], after: dict[str, str]) -> str:
    """A patch as ``git format-patch`` would write it."""
    diff = ""
    for name in sorted(before):
        if before[name] == after[name]:
            continue
        diff += f"diff --git a/{name} b/{name}\n"
        diff += "".join(
            difflib.unified_diff(
                before[name].splitlines(keepends=True),
                after[name].splitlines(keepends=True),
                f"a/{name}",
                f"b/{name}",
            )
        )
    return (
        f"From {number:040x} Mon Sep 17 00:00:00 2001\nFrom: A Tester <tester@example.org>\n"
        f"Date: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: [PATCH {number}] {title}\n\n"
        f"No functional change intended.\n---\n\n{diff}-- \n2.39\n\n"
    )


ALLOC = "alloc_hugetlb_folio"
DEQUEUE = "dequeue_hugetlb_folio_vma"
FAULT = "hugetlb_fault"
WP = "hugetlb_wp"
NO_PAGE = "hugetlb_no_page"

#: What the series touches and what leads there, as it stood at v6.12-rc3, from 6.12.117. The
#: argument that was called avoid_reserve keeps its later name and type, which nobody can see.
BASE = (
    Edit(
        ALLOC,
        "goto out_end_reservation;",
        "goto out_end_reservation;\n\t\tif (cow_from_owner)\n\t\t\tgbl_chg = 1;",
    ),
    Edit(ALLOC, "(h, vma, addr, gbl_chg)", "(h, vma, addr, cow_from_owner, gbl_chg)"),
    Edit(ALLOC, "\tstruct hugetlb_cgroup *h_cg_rsvd = NULL;\n", ""),
    Edit(ALLOC, "&h_cg_rsvd)", "&h_cg)"),
    Edit(ALLOC, "h_cg_rsvd, folio)", "h_cg, folio)"),
    Edit(ALLOC, "h_cg_rsvd);", "h_cg);"),
    Edit(DEQUEUE, "address, long chg)", "address, bool avoid_reserve,\n\t\t\t\tlong chg)"),
    Edit(
        DEQUEUE,
        "goto err;",
        "goto err;\n\tif (avoid_reserve && !available_huge_pages(h))\n\t\tgoto err;",
    ),
    Edit(DEQUEUE, "if (folio && vma", "if (folio && !avoid_reserve && vma"),
    # the copy of a private page asks the page cache, not the page, whose it is
    Edit(
        WP,
        "(struct vm_fault *vmf)",
        "(struct folio *pagecache_folio,\n\t\t       struct vm_fault *vmf)",
    ),
    Edit(WP, "folio_test_anon(old_folio))\n\t\tcow", "old_folio != pagecache_folio)\n\t\tcow"),
    Edit(NO_PAGE, "hugetlb_wp(vmf)", "hugetlb_wp(folio, vmf)"),
    Edit(
        FAULT,
        "struct folio *folio = NULL;",
        "struct folio *folio = NULL;\n\tstruct folio *pagecache_folio = NULL;",
    ),
    Edit(
        FAULT,
        "vma_end_reservation(h, vma, vmf.address);",
        "vma_end_reservation(h, vma, vmf.address);\n\n"
        "\t\tpagecache_folio = filemap_lock_hugetlb_folio(h, mapping, vmf.pgoff);",
    ),
    Edit(
        FAULT,
        "vmf.ptl = huge_pte_lock(h, mm, vmf.pte);",
        "if (IS_ERR(pagecache_folio))\n\t\tpagecache_folio = NULL;\n"
        "\tvmf.ptl = huge_pte_lock(h, mm, vmf.pte);",
    ),
    Edit(
        FAULT,
        "if (folio_test_anon(folio) && !folio_trylock(folio)) {",
        "if (folio != pagecache_folio && !folio_trylock(folio)) {",
    ),
    Edit(FAULT, "hugetlb_wp(&vmf)", "hugetlb_wp(pagecache_folio, &vmf)"),
    Edit(
        FAULT,
        "if (folio_test_anon(folio))\n\t\t\t\tfolio_unlock",
        "if (folio != pagecache_folio)\n\t\t\t\tfolio_unlock",
    ),
    Edit(
        FAULT,
        "out_ptl:\n\tspin_unlock(vmf.ptl);",
        "out_ptl:\n\tspin_unlock(vmf.ptl);\n\tif (pagecache_folio) "
        "folio_unlock(pagecache_folio), folio_put(pagecache_folio);",
    ),
)

#: The built-in series: title and edits of each patch, on top of BASE.
SERIES = (
    (
        "mm/hugetlb: simplify logic in dequeue_hugetlb_folio_vma()",
        (
            Edit(DEQUEUE, "bool avoid_reserve,\n\t\t\t\tlong chg)", "bool use_hstate_resv)"),
            Edit(DEQUEUE, "!vma_has_reserves(vma, chg) && !av", "!use_hstate_resv && !av"),
            Edit(DEQUEUE, "\n\tif (avoid_reserve && !available_huge_pages(h))\n\t\tgoto err;", ""),
            Edit(
                DEQUEUE,
                "folio && !avoid_reserve && vma_has_reserves(vma, chg)",
                "folio && use_hstate_resv",
            ),
            Edit(
                ALLOC, "bool deferred_reserve;", "bool deferred_reserve;\n\tbool use_hstate_resv;"
            ),
            Edit(
                ALLOC,
                "goto out_uncharge_cgroup_reservation;",
                "goto out_uncharge_cgroup_reservation;\n\n"
                "\tuse_hstate_resv = !cow_from_owner && vma_has_reserves(vma, gbl_chg);",
            ),
            Edit(ALLOC, "cow_from_owner, gbl_chg)", "use_hstate_resv)"),
            Edit(
                ALLOC,
                "if (!cow_from_owner && vma_has_reserves(vma, gbl_chg)) {",
                "if (use_hstate_resv) {",
            ),
        ),
    ),
    (
        "mm/hugetlb: refactor vma_has_reserves() to should_use_hstate_resv()",
        (
            Edit(
                "vma_has_reserves",
                "bool vma_has_reserves(struct vm_area_struct *vma, long chg)",
                "bool should_use_hstate_resv(struct vm_area_struct *vma, long chg,\n"
                "\t\t\t\t   bool avoid_reserve)",
            ),
            Edit(
                "should_use_hstate_resv",
                "if (vma->vm_flags & VM_NORESERVE) {",
                "if (avoid_reserve)\n\t\treturn false;\n\tif (vma->vm_flags & VM_NORESERVE) {",
            ),
            Edit(
                ALLOC,
                "!cow_from_owner && vma_has_reserves(vma, gbl_chg);",
                "should_use_hstate_resv(vma, gbl_chg, cow_from_owner);",
            ),
        ),
    ),
    (
        "mm/hugetlb: remove unnecessary check for avoid_reserve",
        (Edit(ALLOC, "\n\t\tif (cow_from_owner)\n\t\t\tgbl_chg = 1;", ""),),
    ),
)

#: The series with a mistake in it: each must be found.
BROKEN = (
    (
        "the copy-on-write of an owner takes a reserved page",
        (
            *SERIES[0][1][:5],
            Edit(
                ALLOC,
                "goto out_uncharge_cgroup_reservation;",
                "goto out_uncharge_cgroup_reservation;\n\n"
                "\tuse_hstate_resv = vma_has_reserves(vma, gbl_chg - cow_from_owner);",
            ),
            *SERIES[0][1][6:],
        ),
    ),
    (
        "a page from the buddy allocator does not consume its reservation",
        (
            *SERIES[0][1][:7],
            Edit(
                ALLOC,
                "if (!cow_from_owner && vma_has_reserves(vma, gbl_chg)) {",
                "if (use_hstate_resv && cow_from_owner) {",
            ),
        ),
    ),
)

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
