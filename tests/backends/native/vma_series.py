"""The built-in series in C, as recipes: 6.12.117 put back to v6.12-rc3, and the patches on that.

``BASE`` undoes what later fixes changed in behaviour or control flow. It leaves alone what no
operation can tell apart: the sharing of page tables between processes (a mapping would have to
cover a whole gigabyte), the type of ``avoid_reserve``, and a poisoned entry's write-protect mark at
fork, which such an entry never has.
"""

from __future__ import annotations

from tests.backends.native.recipes import INODE, Edit

ALLOC = "alloc_hugetlb_folio"
DEQUEUE = "dequeue_hugetlb_folio_vma"
DISSOLVE = "dissolve_free_hugetlb_folio"
FAULT = "hugetlb_fault"
FORK = "copy_hugetlb_page_range"
MFILL = "hugetlb_mfill_atomic_pte"
NO_PAGE = "hugetlb_no_page"
REMOVE_INODE = "remove_inode_single_folio"
UNMAP = "__unmap_hugepage_range"
WP = "hugetlb_wp"

_ALLOCATION = (
    Edit(ALLOC, "long addr, bool cow_from_owner)", "long addr, bool avoid_reserve)"),
    Edit(ALLOC, "if (map_chg || cow_from_owner) {", "if (map_chg || avoid_reserve) {"),
    Edit(
        ALLOC,
        "deferred_reserve = map_chg || cow_from_owner",
        "deferred_reserve = map_chg || avoid_reserve",
    ),
    Edit(ALLOC, "if (map_chg || cow_from_owner)\n", "if (map_chg || avoid_reserve)\n"),
    Edit(ALLOC, "if (!cow_from_owner &&", "if (!avoid_reserve &&"),
    Edit(
        ALLOC,
        "goto out_end_reservation;",
        "goto out_end_reservation;\n\t\tif (avoid_reserve)\n\t\t\tgbl_chg = 1;",
    ),
    Edit(ALLOC, "(h, vma, addr, gbl_chg)", "(h, vma, addr, avoid_reserve, gbl_chg)"),
    # one pointer for both charges: the second overwrites the first
    Edit(ALLOC, "\tstruct hugetlb_cgroup *h_cg_rsvd = NULL;\n", ""),
    Edit(ALLOC, "&h_cg_rsvd)", "&h_cg)"),
    Edit(ALLOC, "h_cg_rsvd, folio)", "h_cg, folio)"),
    Edit(ALLOC, "h_cg_rsvd);", "h_cg);"),
    Edit(DEQUEUE, "address, long chg)", "address, int avoid_reserve,\n\t\t\t\tlong chg)"),
    Edit(
        DEQUEUE,
        "goto err;",
        "goto err;\n\tif (avoid_reserve && !available_huge_pages(h))\n\t\tgoto err;",
    ),
    Edit(DEQUEUE, "if (folio && vma", "if (folio && !avoid_reserve && vma"),
)

#: The copy of a private page asks the page cache, not the page, whose it is.
_COPY = (
    Edit(
        WP,
        "(struct vm_fault *vmf)",
        "(struct folio *pagecache_folio,\n\t\t       struct vm_fault *vmf)",
    ),
    Edit(WP, "bool cow_from_owner = 0;", "int outside_reserve = 0;"),
    Edit(
        WP,
        "folio_test_anon(old_folio))\n\t\tcow_from_owner = true;",
        "old_folio != pagecache_folio)\n\t\toutside_reserve = 1;",
    ),
    Edit(WP, "vmf->address, cow_from_owner)", "vmf->address, outside_reserve)"),
    Edit(WP, "if (cow_from_owner) {", "if (outside_reserve) {"),
    Edit(NO_PAGE, "\tbool folio_locked = true;\n", ""),
    Edit(NO_PAGE, "\t\t\tfolio_locked = false;\n", ""),
    Edit(NO_PAGE, "if (!anon_rmap) {\n\t\t\tfolio_unlock(folio);\n\t\t}", ""),
    Edit(NO_PAGE, "if (folio_locked)\n\t\tfolio_unlock(folio);", "folio_unlock(folio);"),
    Edit(NO_PAGE, "\tspin_unlock(vmf->ptl);\nout:", "out:"),
    Edit(
        NO_PAGE,
        "hugetlb_wp(vmf);\n\t}\n",
        "hugetlb_wp(folio, vmf);\n\t}\n\tspin_unlock(vmf->ptl);",
    ),
)

_FAULT = (
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
        "filemap_lock_hugetlb_folio(h, mapping, vmf.pgoff);",
        "filemap_lock_hugetlb_folio(h, mapping, vmf.pgoff);\n"
        "\t\tif (IS_ERR(pagecache_folio))\n\t\t\tpagecache_folio = NULL;",
    ),
    Edit(
        FAULT,
        "spin_unlock(vmf.ptl);\n\t\t\thugetlb_vma_unlock_read(vma);",
        "spin_unlock(vmf.ptl);\n\t\t\tif (pagecache_folio) folio_unlock(pagecache_folio), "
        "folio_put(pagecache_folio);\n\t\t\thugetlb_vma_unlock_read(vma);",
    ),
    # any fault on a page that is there locks it, not only the write to an anonymous one
    Edit(
        FAULT,
        "if (flags & (FAULT_FLAG_WRITE|FAULT_FLAG_UNSHARE)) {\n"
        "\t\tif (!huge_pte_write(vmf.orig_pte)) {",
        "{\n\t\t{",
    ),
    Edit(
        FAULT,
        "if (folio_test_anon(folio) && !folio_trylock(folio)) {",
        "if (folio != pagecache_folio && !folio_trylock(folio)) {",
    ),
    Edit(FAULT, "folio_get(folio);", "folio_get(folio);\n\t\t}\n\t}"),
    Edit(
        FAULT,
        "ret = hugetlb_wp(&vmf);",
        "if (flags & (FAULT_FLAG_WRITE|FAULT_FLAG_UNSHARE)) {\n"
        "\t\tif (!huge_pte_write(vmf.orig_pte)) {\n"
        "\t\t\tret = hugetlb_wp(pagecache_folio, &vmf);",
    ),
    Edit(FAULT, "\t\t\tif (folio_test_anon(folio))\n\t\t\t\tfolio_unlock(folio);\n", ""),
    Edit(FAULT, "folio_put(folio);\n\t\t\tgoto out_ptl;", "goto out_put_page;"),
    Edit(
        FAULT,
        "out_ptl:\n",
        "out_put_page:\n\tif (folio != pagecache_folio) folio_unlock(folio);\nout_ptl:",
    ),
    Edit(FAULT, "out_ptl:\tspin", "\tfolio_put(folio);\nout_ptl:\n\tspin"),
    Edit(
        FAULT,
        "out_mutex:",
        "\tif (pagecache_folio)\n\t\tfolio_unlock(pagecache_folio), "
        "folio_put(pagecache_folio);\nout_mutex:",
    ),
)

_REST = (
    Edit(
        FORK, "alloc_hugetlb_folio(dst_vma, addr, false)", "alloc_hugetlb_folio(dst_vma, addr, 1)"
    ),
    Edit(FORK, "\t\t\t\t\trestore_reserve_on_error(h, dst_vma, addr, new_folio);\n", ""),
    Edit(UNMAP, "\t\tadjust_reservation = false;\n", ""),
    Edit(UNMAP, "bool adjust_reservation;", "bool adjust_reservation = false;"),
    Edit(
        UNMAP,
        "hugetlb_remove_rmap(page_folio(page));\n\t\tspin_unlock(ptl);",
        "hugetlb_remove_rmap(page_folio(page));",
    ),
    Edit(UNMAP, "\t\tspin_lock_irq(&hugetlb_lock);\n", ""),
    Edit(UNMAP, "!folio_mapped(page_folio(page)) && ", ""),
    Edit(UNMAP, "spin_unlock_irq(&hugetlb_lock);", "spin_unlock(ptl);"),
    Edit(DISSOLVE, "\t\tif (hstate_is_gigantic_no_runtime(h))\n\t\t\tgoto out;\n", ""),
    Edit(
        DISSOLVE,
        "\t\tif (h->surplus_huge_pages_node[folio_nid(folio)])\n\t\t\tadjust_surplus = true;\n",
        "",
    ),
    Edit(
        MFILL,
        "restore_reserve_on_error(h, dst_vma, dst_addr, folio);\n"
        "\t\t\tfolio_put(folio);\n\t\t\tgoto out;",
        "folio_put(folio);\n\t\t\tgoto out;",
    ),
    Edit("hugetlb_hstate_alloc_pages", "\tif (!h->max_huge_pages)\n\t\treturn;\n", ""),
    Edit(REMOVE_INODE, "\tfolio_lock(folio);\n", "", INODE),
    Edit(
        REMOVE_INODE,
        "hugetlb_unmap_file_folio(h, mapping, folio, index);",
        "hugetlb_unmap_file_folio(h, mapping, folio, index);\n\n\tfolio_lock(folio);",
        INODE,
    ),
)

#: From 6.12.117 to v6.12-rc3.
BASE = (*_ALLOCATION, *_COPY, *_FAULT, *_REST)

Patch = tuple[str, tuple[Edit, ...]]

_USED_AGAIN = "if (!avoid_reserve && vma_has_reserves(vma, gbl_chg)) {"


def _simplify(condition: str) -> Patch:
    """Patch 1, with what decides whether a reserved page may be taken."""
    return (
        "mm/hugetlb: simplify logic in dequeue_hugetlb_folio_vma()",
        (
            Edit(DEQUEUE, "int avoid_reserve,\n\t\t\t\tlong chg)", "bool use_hstate_resv)"),
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
                f"\tuse_hstate_resv = !avoid_reserve && {condition};",
            ),
            Edit(ALLOC, "avoid_reserve, gbl_chg)", "use_hstate_resv)"),
            Edit(ALLOC, _USED_AGAIN, "if (use_hstate_resv) {"),
        ),
    )


def _rename(chg: str) -> Patch:
    """Patch 2, with the change that patch 1 looks at."""
    return (
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
                f"!avoid_reserve && vma_has_reserves(vma, {chg});",
                f"should_use_hstate_resv(vma, {chg}, avoid_reserve);",
            ),
        ),
    )


_REMOVE: Patch = (
    "mm/hugetlb: remove unnecessary check for avoid_reserve",
    (Edit(ALLOC, "\n\t\tif (avoid_reserve)\n\t\t\tgbl_chg = 1;", ""),),
)

#: The series: title and edits of each patch, on top of BASE.
SERIES = (_simplify("vma_has_reserves(vma, gbl_chg)"), _rename("gbl_chg"), _REMOVE)

#: Decides by the reservation map, before the subpool was asked.
BROKEN_1 = (_simplify("vma_has_reserves(vma, map_chg)"), _rename("map_chg"), _REMOVE)

#: Removes both checks of avoid_reserve, where only one of them is unnecessary.
BROKEN_3 = (
    *SERIES[:2],
    (
        _REMOVE[0],
        (
            *_REMOVE[1],
            Edit(ALLOC, "resv(vma, gbl_chg, avoid_reserve)", "resv(vma, gbl_chg, false)"),
        ),
    ),
)
