"""Bugs planted in 6.12.117, by the code they break, and rewrites that change nothing."""

from tests.backends.native.recipes import INODE, Edit

GET = "hugepage_subpool_get_pages"
PUT = "hugepage_subpool_put_pages"
ALLOC = "alloc_hugetlb_folio"
FREE = "free_huge_folio"
GATHER = "gather_surplus_pages"
UNUSED = "return_unused_surplus_pages"
RESERVE = "hugetlb_reserve_pages"
UNRESERVE = "hugetlb_unreserve_pages"
UNMAP = "__unmap_hugepage_range"
CLOSE = "hugetlb_vm_op_close"
RESIZE = "set_max_huge_pages"
ADJUST = "adjust_pool_surplus"
FORK = "copy_hugetlb_page_range"
WP = "hugetlb_wp"
NO_PAGE = "hugetlb_no_page"
RANGE = "add_reservation_in_range"
NODE = "dequeue_hugetlb_folio_node_exact"
REMOVE = "remove_hugetlb_folio"
TRUNCATE = "remove_inode_hugepages"
PUNCH = "hugetlbfs_punch_hole"
FALLOCATE = "hugetlbfs_fallocate"

#: What each bug breaks, and the edit.
PLANTED = (
    (
        "region: a gap is counted up to the end",
        Edit(RANGE, "if (last_accounted_offset < t)", "if (last_accounted_offset + 1 < t)"),
    ),
    (
        "region: trimming keeps the end",
        Edit("region_del", "del += rg->to - f;\n\t\t\trg->to = f;", "del += rg->to - f;"),
    ),
    ("region: a whole region is not counted", Edit("region_del", "del += rg->to - rg->from;", ";")),
    (
        "subpool: one more than the maximum",
        Edit(GET, "+ delta) <= spool->max_hpages)", "+ delta) <= spool->max_hpages + 1)"),
    ),
    ("subpool: reserved pages are not taken", Edit(GET, "spool->rsv_hpages -= delta;", ";")),
    (
        "subpool: all reserves are said to be there",
        Edit(GET, "ret = delta - spool->rsv_hpages;", "ret = delta;"),
    ),
    (
        "subpool: use is not given back",
        Edit(PUT, "spool->used_hpages -= delta;", "spool->used_hpages -= delta - 1;"),
    ),
    ("subpool: reserves are not refilled", Edit(PUT, "spool->rsv_hpages += delta;", ";")),
    ("dequeue: the free count stays", Edit(NODE, "h->free_huge_pages--;", ";")),
    (
        "dequeue: the reservation stays",
        Edit("dequeue_hugetlb_folio_vma", "h->resv_huge_pages--;", ";"),
    ),
    (
        "dequeue: no mark to restore the reservation",
        Edit("dequeue_hugetlb_folio_vma", "folio_set_hugetlb_restore_reserve(folio);", ";"),
    ),
    (
        "reserves: a shared mapping without reserve has some",
        Edit(
            "vma_has_reserves",
            "vma->vm_flags & VM_MAYSHARE && chg == 0",
            "vma->vm_flags & VM_MAYSHARE",
        ),
    ),
    (
        "alloc: the subpool is not given its page back",
        Edit(
            ALLOC, "if (map_chg || cow_from_owner)\n\t\thugepage_subpool_put_pages(spool, 1);", ""
        ),
    ),
    (
        "alloc: a failure leaves an addition in progress",
        Edit(
            ALLOC,
            "out_end_reservation:\n\tvma_end_reservation(h, vma, addr);",
            "out_end_reservation:",
        ),
    ),
    (
        "alloc: the folio has no subpool",
        Edit(ALLOC, "hugetlb_set_folio_subpool(folio, spool);", ""),
    ),
    (
        "alloc: use is charged to nobody",
        Edit(ALLOC, "hugetlb_cgroup_commit_charge(idx, pages_per_huge_page(h), h_cg, folio);", ";"),
    ),
    (
        "free: a page of a subpool with a minimum is not reserved again",
        Edit(FREE, "restore_reserve = true;", "restore_reserve = false;"),
    ),
    (
        "free: surplus pages are kept",
        Edit(
            FREE,
            "} else if (h->surplus_huge_pages_node[nid]) {",
            "} else if (h->surplus_huge_pages_node[nid] > 1) {",
        ),
    ),
    ("free: the subpool forgets", Edit(FREE, "if (!restore_reserve) {", "if (0) {")),
    (
        "reserve: the subpool's share is reserved too",
        Edit(
            RESERVE,
            "if (hugetlb_acct_memory(h, gbl_reserve) < 0)",
            "if (hugetlb_acct_memory(h, chg) < 0)",
        ),
    ),
    (
        "reserve: a failure keeps the subpool's pages",
        Edit(RESERVE, "(void)hugepage_subpool_put_pages(spool, chg);", ";"),
    ),
    (
        "reserve: no abort of the change",
        Edit(RESERVE, "if (chg >= 0 && add < 0)", "if (chg < 0 && add < 0)"),
    ),
    (
        "fault: the migratable mark is missing",
        Edit(NO_PAGE, "folio_set_hugetlb_migratable(folio);", ";"),
    ),
    (
        "fault: pages behind the end of the file",
        Edit(NO_PAGE, "if (vmf->pgoff >= size)", "if (vmf->pgoff > size)"),
    ),
    (
        "fault: a mapping is not counted",
        Edit(NO_PAGE, "hugetlb_count_add(pages_per_huge_page(h), mm);", ""),
    ),
    (
        "wp: copied although nobody else has it",
        Edit(
            WP,
            "if (folio_mapcount(old_folio) == 1 && folio_test_anon(old_folio)) {",
            "if (folio_mapcount(old_folio) == 0 && folio_test_anon(old_folio)) {",
        ),
    ),
    (
        "wp: owners are not told from others",
        Edit(WP, "cow_from_owner = true;", "cow_from_owner = false;"),
    ),
    (
        "fork: the parent may go on writing",
        Edit(FORK, "huge_ptep_set_wrprotect(src, addr, src_pte);", ";"),
    ),
    ("fork: the child's pages are not counted", Edit(FORK, "hugetlb_count_add(npages, dst);", ";")),
    (
        "unmap: reservations come back with surplus pages too",
        Edit(
            UNMAP,
            "if (!h->surplus_huge_pages && __vma_private_lock(vma) &&",
            "if (__vma_private_lock(vma) &&",
        ),
    ),
    (
        "unmap: a reservation is never put back",
        Edit(UNMAP, "adjust_reservation = true;", "adjust_reservation = false;"),
    ),
    ("unmap: the dirty mark is lost", Edit(UNMAP, "set_page_dirty(page);", ";")),
    (
        "close: used pages are given back as well",
        Edit(CLOSE, "(end - start) - region_count(resv, start, end)", "(end - start)"),
    ),
    ("surplus: one too few is gathered", Edit(GATHER, "if (needed <= 0) {", "if (needed <= 1) {")),
    ("surplus: unused ones stay", Edit(UNUSED, "while (nr_pages--) {", "while (nr_pages-- > 1) {")),
    (
        "pool: surplus pages are not adopted",
        Edit(
            RESIZE,
            "while (h->surplus_huge_pages && count > persistent_huge_pages(h)) {",
            "while (0) {",
        ),
    ),
    (
        "pool: the next size is not kept",
        Edit(RESIZE, "h->max_huge_pages = persistent_huge_pages(h);", "h->max_huge_pages = count;"),
    ),
    (
        "pool: a node's surplus is forgotten",
        Edit(ADJUST, "h->surplus_huge_pages_node[node] += delta;", ";"),
    ),
    ("pool: removal keeps the node's count", Edit(REMOVE, "h->nr_huge_pages_node[nid]--;", ";")),
    ("truncate: freed pages are counted twice", Edit(TRUNCATE, "freed++;", "freed += 2;", INODE)),
    (
        "truncate: blocks stay",
        Edit(UNRESERVE, "inode->i_blocks -= (blocks_per_huge_page(h) * freed);", ";"),
    ),
    (
        "punch: the hole is one page shorter",
        Edit(
            PUNCH,
            "remove_inode_hugepages(inode, hole_start, hole_end);",
            "remove_inode_hugepages(inode, hole_start + hpage_size, hole_end);",
            INODE,
        ),
    ),
    (
        "fallocate: keeping the size makes it grow",
        Edit(FALLOCATE, "if (!(mode & FALLOC_FL_KEEP_SIZE) && offset", "if (offset", INODE),
    ),
    (
        "fallocate: a failure is no error",
        Edit(FALLOCATE, "error = PTR_ERR(folio);", "error = 0;", INODE),
    ),
)

#: Those that 6.1 has in the same words.
ON_6_1 = (GET, PUT, CLOSE, UNRESERVE)

#: Rewrites that change nothing: what was done, and the edits.
REWRITES = (
    (
        "early return",
        (Edit(GET, "if (!spool)\n\t\treturn ret;", "if (spool == NULL)\n\t\treturn delta;"),),
    ),
    (
        "swapped operands of a sum",
        (
            Edit(
                PUT,
                "if (spool->rsv_hpages + delta <= spool->min_hpages)",
                "if (delta + spool->rsv_hpages <= spool->min_hpages)",
            ),
        ),
    ),
    (
        "swapped comparison",
        (Edit(GET, "if (delta > spool->rsv_hpages) {", "if (spool->rsv_hpages < delta) {"),),
    ),
    (
        "inverted branches",
        (
            Edit(
                "vma_has_reserves",
                "if (vma->vm_flags & VM_MAYSHARE && chg == 0)\n\t\t\treturn true;\n\t\telse",
                "if (vma->vm_flags & VM_MAYSHARE && !chg)\n\t\t\treturn true;\n\t\telse",
            ),
        ),
    ),
    ("merged test", (Edit(FREE, "if (!restore_reserve) {", "if (!(restore_reserve || false)) {"),)),
    (
        "renamed variable",
        (
            Edit(
                REMOVE,
                "int nid = folio_nid(folio);",
                "int node = folio_nid(folio);\n\tint nid = node;",
            ),
        ),
    ),
    (
        "hoisted pure call",
        (
            Edit(
                ALLOC,
                "idx = hstate_index(h);",
                "const int same = hstate_index(h);\n\n\tidx = same;",
            ),
        ),
    ),
    (
        "a loop counted the other way",
        (Edit(UNUSED, "while (nr_pages--) {", "for (; nr_pages; nr_pages--) {"),),
    ),
    (
        "minimum by a condition",
        (
            Edit(
                UNUSED,
                "nr_pages = min(unused_resv_pages, h->surplus_huge_pages);",
                "nr_pages = unused_resv_pages < h->surplus_huge_pages ?\n\t\t"
                "unused_resv_pages : h->surplus_huge_pages;",
            ),
        ),
    ),
    (
        "difference written as a sum",
        (
            Edit(
                GATHER,
                "needed = (h->resv_huge_pages + delta) - h->free_huge_pages;",
                "needed = delta - h->free_huge_pages + h->resv_huge_pages;",
            ),
        ),
    ),
    (
        "double negation",
        (Edit(WP, "if (vma->vm_flags & VM_MAYSHARE) {", "if (!!(vma->vm_flags & VM_MAYSHARE)) {"),),
    ),
    (
        "order of two counters",
        (
            Edit(
                NODE,
                "h->free_huge_pages--;\n\t\th->free_huge_pages_node[nid]--;",
                "h->free_huge_pages_node[nid]--;\n\t\th->free_huge_pages--;",
            ),
        ),
    ),
    ("split condition", (Edit(UNMAP, "if (page != ref_page) {", "if (!(page == ref_page)) {"),)),
    (
        "a variable for a sum",
        (
            Edit(
                RESIZE,
                "min_count = h->resv_huge_pages + h->nr_huge_pages - h->free_huge_pages;",
                "unsigned long used = h->nr_huge_pages - h->free_huge_pages;\n\n\t"
                "min_count = used + h->resv_huge_pages;",
            ),
        ),
    ),
    (
        "counting down by one in two ways",
        (Edit(REMOVE, "h->nr_huge_pages--;", "h->nr_huge_pages -= 1;"),),
    ),
)
