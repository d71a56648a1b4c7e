"""Bugs planted in our ports, each with the minimal trace by which it must be found.

``equivcheck run --series tests.quality.planted:NAME`` checks the series of one of them.
"""

from __future__ import annotations

from equivalence.series import Series
from tests.quality.recipe import Planted

#: One in each part of the reservation logic.
CORE = (
    Planted(
        "region_add",
        "ends as many additions as the map needed, not as many as were begun",
        "region_add",
        "resv.adds_in_progress -= in_regions_needed",
        "resv.adds_in_progress -= actual_regions_needed[0]",
        field="vmas.A.68719476736.resv_map.adds_in_progress",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=1 populate=1
        fork proc=A child=B
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "region_del",
        "shortens the region before it counts what is cut off",
        "region_del",
        "del_ += rg.to - f\n                rg.to = f",
        "rg.to = f\n                del_ += rg.to - f",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=2 fd=f1
        ftruncate proc=A fd=f1 len=1
        """,
    ),
    Planted(
        "subpool_get",
        "clears the subpool's reserve before it subtracts it",
        "hugepage_subpool_get_pages",
        "ret = delta - spool.rsv_hpages\n            spool.rsv_hpages = 0",
        "spool.rsv_hpages = 0\n            ret = delta - spool.rsv_hpages",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=3
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=2 fd=f1
        """,
    ),
    Planted(
        "subpool_put",
        "refills the minimum also when exactly the minimum is in use",
        "hugepage_subpool_put_pages",
        "spool.used_hpages < spool.min_hpages",
        "spool.used_hpages <= spool.min_hpages",
        field="subpools.h0.rsv_hpages",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 size=2 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=2 fd=f1 noreserve=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0 len=2
        """,
    ),
    Planted(
        "dequeue",
        "lets a page without a reservation be one that others have reserved",
        "dequeue_hugetlb_folio_vma",
        "if not vma_has_reserves(vma, chg) and not available_huge_pages(h):",
        "if not vma_has_reserves(vma, chg) and not h.free_huge_pages:",
        field="outcome.ret",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 noreserve=1
        mount mount=h0 min_size=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0
        """,
    ),
    Planted(
        "alloc",
        "asks the map instead of the subpool whether the page was reserved",
        "alloc_hugetlb_folio",
        "dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, gbl_chg)",
        "dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, map_chg)",
        field="outcome.ret",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1 noreserve=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0
        """,
    ),
    Planted(
        "free",
        "gives the page back to the subpool before it looks whether it may",
        "free_huge_folio",
        "if not restore_reserve and hugepage_subpool_put_pages(spool, 1) == 0:",
        "if hugepage_subpool_put_pages(spool, 1) == 0 and not restore_reserve:",
        field="statfs.h0.f_bfree",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0 cold=1
        """,
    ),
    Planted(
        "reserve",
        "gives the subpool back what was asked of the pool, not what was asked of it",
        "hugetlb_reserve_pages",
        "# out_put_pages\n            hugepage_subpool_put_pages(spool, chg)",
        "# out_put_pages\n            hugepage_subpool_put_pages(spool, gbl_reserve)",
        field="subpools.h0.rsv_hpages",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mount mount=h0 min_size=2
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=3 fd=f1
        """,
    ),
    Planted(
        "unreserve",
        "ignores what the subpool keeps for its minimum",
        "hugetlb_unreserve_pages",
        "hugetlb_acct_memory(h, -gbl_reserve)",
        "hugetlb_acct_memory(h, -(chg - freed))",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1
        munmap proc=A map=m1
        close proc=A fd=f1
        unlink mount=h0 name=x
        """,
    ),
    Planted(
        "no_page",
        "allows a fault at the very end of the file",
        "hugetlb_no_page",
        "if vmf.pgoff >= size:",
        "if vmf.pgoff > size:",
        field="outcome.signal",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        ftruncate proc=A fd=f1 len=0
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "wp",
        "keeps its reference to the old page when there is none for the copy",
        "hugetlb_wp",
        "ret = vmf_error(new_folio)\n            folio_put(old_folio)",
        "ret = vmf_error(new_folio)",
        field="folios.0.refcount",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1 noreserve=1
        fallocate proc=A fd=f1 off=0 len=1
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "unmap",
        "puts the reservation back for pages of the file, too",
        "_unmap_hugepage_range",
        "if not h.surplus_huge_pages and _vma_private_lock(vma) and folio_test_anon(page):",
        "if not h.surplus_huge_pages and _vma_private_lock(vma):",
        field="outcome.ending",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        fallocate proc=A fd=f1 off=0 len=1
        touch_read proc=A map=m1 page=0
        fallocate proc=A fd=f1 off=0 len=1 mode=punch_hole
        """,
    ),
)

#: Spread over the rest of the surface.
SURFACE = (
    Planted(
        "region_split_enomem",
        "takes a region that could not be split for one that was",
        "remove_inode_single_folio",
        "if hugetlb_unreserve_pages(inode, index, index + 1, 1):\n"
        "            hugetlb_fix_reserve_counts(inode)",
        "hugetlb_unreserve_pages(inode, index, index + 1, 1)",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=4
        spawn id=A
        memfd_create proc=A fd=f1
        fallocate proc=A fd=f1 off=0 len=3
        fail_kmalloc count=1
        fallocate proc=A fd=f1 off=1 len=1 mode=punch_hole
        """,
    ),
    Planted(
        "region_chg_enomem",
        "forgets the addition begun when the charge for it fails",
        "hugetlb_reserve_pages",
        "if chg >= 0 and add < 0:",
        "if charged and chg >= 0 and add < 0:",
        field="inodes.h0.2.resv_map.adds_in_progress",
        trace="""
        world
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        cgroup_create cgroup=g1
        cgroup_set cgroup=g1 file=rsvd.max value=0
        cgroup_attach cgroup=g1 target=A
        mmap proc=A map=m1 type=shared len=1 fd=f1
        """,
    ),
    Planted(
        "close_part",
        "counts used reservations from the beginning of the map, not of the part that goes",
        "hugetlb_vm_op_close",
        "region_count(resv, start, end)",
        "region_count(resv, 0, end)",
        field="pool.hugepages-2048kB.nr",
        trace="""
        world nr_overcommit_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=2 populate=1
        munmap proc=A map=m1 start=1
        """,
    ),
    Planted(
        "open_part",
        "does not hold the cgroup for the second part of a split mapping",
        "hugetlb_vm_op_open",
        "resv_map_dup_hugetlb_cgroup_uncharge_info(resv)\n        kref_get(resv)",
        "kref_get(resv)",
        field="cgroups.g1.refcount",
        trace="""
        world nr_hugepages=1
        spawn id=A
        cgroup_create cgroup=g1
        cgroup_attach cgroup=g1 target=A
        mmap proc=A map=m1 type=private len=1
        mremap proc=A map=m1 to=m2
        """,
    ),
    Planted(
        "mremap",
        "leaves the old mapping's share of the map behind",
        "clear_vma_resv_huge_pages",
        "        kref_put(reservations, resv_map_release)\n",
        "",
        field="vmas.A.137438953472.resv_map.refs",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        mremap proc=A map=m1 to=m2
        """,
    ),
    Planted(
        "mprotect",
        "never takes the right to write away from an entry",
        "hugetlb_change_protection",
        "pte = huge_pte_modify(pte, newprot_write)",
        "pte = huge_pte_modify(pte, newprot_write or pte.write)",
        field="page_tables.A.68719476736.write",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 populate=1
        uffd_register proc=A map=m1 mode=wp
        uffd_unregister proc=A map=m1
        """,
    ),
    Planted(
        "dontneed",
        "decides by the node's surplus whether a reservation comes back",
        "_unmap_hugepage_range",
        "if not h.surplus_huge_pages and _vma_private_lock(vma) and folio_test_anon(page):",
        "if not h.surplus_huge_pages_node[page.nid] and _vma_private_lock(vma) and "
        "folio_test_anon(page):",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=3 nr_overcommit_hugepages=1
        spawn id=A
        mmap proc=A map=m2 type=private len=2 populate=1
        mmap proc=A map=m1 type=private len=2 populate=1
        madvise proc=A map=m1 advice=dontneed
        """,
    ),
    Planted(
        "remove",
        "leaves copies in private mappings when a hole is punched",
        "hugetlbfs_punch_hole",
        "if mapping.i_mmap:\n            hugetlb_vmdelete_list(",
        "if mapping.i_mmap and not inode.i_nlink:\n            hugetlb_vmdelete_list(",
        field="page_tables.A.68719476736",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1 populate=1
        uffd_register proc=A map=m1 mode=wp
        uffd_writeprotect proc=A map=m1
        madvise proc=A map=m1 advice=remove
        """,
    ),
    Planted(
        "ftruncate",
        "gives up the reservations of the whole file",
        "remove_inode_hugepages",
        "hugetlb_unreserve_pages(inode, lstart >> huge_page_shift(h), LONG_MAX, freed)",
        "hugetlb_unreserve_pages(inode, 0, LONG_MAX, freed)",
        field="statfs.h0.f_bfree",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 size=1 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1
        ftruncate proc=A fd=f1 len=1
        """,
    ),
    Planted(
        "fallocate",
        "makes its pseudo-VMA shared, but not one that may be shared",
        "hugetlbfs_fallocate",
        "pseudo_vma.vm_flags = VM_HUGETLB | VM_MAYSHARE | VM_SHARED",
        "pseudo_vma.vm_flags = VM_HUGETLB | VM_SHARED",
        field="inodes.h0.2.resv_map.regions.0",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        fallocate proc=A fd=f1 off=0 len=1
        """,
    ),
    Planted(
        "keep_size",
        "takes the pages for the size of the file",
        "hugetlbfs_fallocate",
        "if not mode & FALLOC_FL_KEEP_SIZE and offset + length > inode.i_size:",
        "if not mode & FALLOC_FL_KEEP_SIZE and length > inode.i_size:",
        field="files.A.f1.size",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        fallocate proc=A fd=f1 off=1 len=1
        """,
    ),
    Planted(
        "punch",
        "does not take the page off the file's blocks",
        "remove_inode_single_folio",
        "hugetlb_unreserve_pages(inode, index, index + 1, 1)",
        "hugetlb_unreserve_pages(inode, index, index + 1, 0)",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=1
        spawn id=A
        memfd_create proc=A fd=f1
        mmap proc=A map=m1 type=shared len=1 fd=f1 populate=1
        fallocate proc=A fd=f1 off=0 len=1 mode=punch_hole
        """,
    ),
    Planted(
        "evict",
        "removes what is within the file's size, and with it its reservations",
        "hugetlbfs_evict_inode",
        "remove_inode_hugepages(inode, 0, LLONG_MAX)",
        "remove_inode_hugepages(inode, 0, inode.i_size)",
        field="statfs.h0.f_bfree",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 size=1 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1
        munmap proc=A map=m1
        close proc=A fd=f1
        unlink mount=h0 name=x
        """,
    ),
    Planted(
        "preferred_many",
        "stays within the preferred nodes after they had no page",
        "dequeue_hugetlb_folio_vma",
        "        nodemask = None\n",
        "        pass\n",
        field="outcome.signal",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=2
        touch_write proc=A map=m1 page=0
        set_mempolicy proc=A mode=preferred_many nodes=0
        touch_write proc=A map=m1 page=1
        """,
    ),
    Planted(
        "bind",
        "gathers surplus pages wherever the cpuset allows",
        "gather_surplus_pages",
        "if mbind_nodemask is None or node_isset(node, mbind_nodemask):",
        "if mbind_nodemask is None or node_isset(node, mems_allowed):",
        field="outcome.ret",
        trace="""
        world nr_overcommit_hugepages=1
        spawn id=A
        set_mempolicy proc=A mode=bind nodes=1
        mmap proc=A map=m1 type=private len=1
        """,
    ),
    Planted(
        "cpuset",
        "takes a free page from a node that the cpuset forbids",
        "dequeue_hugetlb_folio_nodemask",
        "if not cpuset_zone_allowed(node, gfp_mask):",
        "if nmask is not None and not cpuset_zone_allowed(node, gfp_mask):",
        field="nodes.0.free.0",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        cgroup_create cgroup=g1
        cgroup_attach cgroup=g1 target=A
        cgroup_mems cgroup=g1 nodes=1
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "node_nr",
        "counts a node's surplus as its persistent pages",
        "set_max_huge_pages",
        "- ((h.nr_huge_pages_node[nid] - h.surplus_huge_pages_node[nid]) & UINT_MAX)",
        "- h.nr_huge_pages_node[nid]",
        field="pool.hugepages-2048kB.nr",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        set_nr_hugepages n=0
        set_node_nr_hugepages node=0 n=0
        """,
    ),
    Planted(
        "fork_pinned",
        "keeps its reference to the pinned page that was copied",
        "copy_hugetlb_page_range",
        "addr, dst_vma)\n                    folio_put(pte_folio)",
        "addr, dst_vma)",
        field="folios.0.refcount",
        trace="""
        world nr_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        pin proc=A pin=p1 map=m1
        fork proc=A child=B
        """,
    ),
    Planted(
        "fork_cow",
        "leaves the parent the right to write",
        "copy_hugetlb_page_range",
        "huge_ptep_set_wrprotect(src, addr, src_pte)\n",
        "pass\n",
        field="page_tables.A.68719476736.write",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 populate=1
        fork proc=A child=B
        """,
    ),
    Planted(
        "migrate_temporary",
        "puts the old page into the pool instead of giving it back",
        "move_hugetlb_state",
        "folio_set_hugetlb_temporary(old_folio)\n",
        "pass\n",
        field="hstates.0.max_huge_pages",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 populate=1
        soft_offline node=0 frame=0
        """,
    ),
    Planted(
        "migrate_subpool",
        "lets the old page keep the subpool, too",
        "hugetlbfs_migrate_folio",
        "        hugetlb_set_folio_subpool(src, None)\n",
        "",
        field="statfs.h0.f_bfree",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1 populate=1
        migrate_pages proc=A from=0 to=1
        """,
    ),
    Planted(
        "migrate_cgroup",
        "forgets to which cgroup the reservation was charged",
        "hugetlb_cgroup_migrate",
        "set_hugetlb_cgroup_rsvd(new_folio, h_cg_rsvd)",
        "set_hugetlb_cgroup_rsvd(new_folio, None)",
        field="folios.1.hugetlb_cgroup_rsvd",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 noreserve=1 populate=1
        cgroup_create cgroup=g1
        cgroup_attach cgroup=g1 target=A
        cgroup_mems cgroup=g1 nodes=1
        """,
    ),
    Planted(
        "memfd_pin",
        "does not take the reservation for a page of a memfd",
        "alloc_hugetlb_folio_reserve",
        "h.resv_huge_pages = (h.resv_huge_pages - 1) & ULONG_MAX",
        "h.resv_huge_pages &= ULONG_MAX",
        field="pool.hugepages-2048kB.resv",
        trace="""
        world nr_hugepages=1
        spawn id=A
        memfd_create proc=A fd=f1
        mmap proc=A map=m1 type=private len=1 fd=f1
        memfd_pin_folios proc=A pin=p1 fd=f1 len=1
        """,
    ),
    Planted(
        "shm",
        "reserves for each attachment, as for any other file",
        "hugetlbfs_file_mmap",
        "if inode.i_flags & S_PRIVATE:\n        vm_flags |= VM_NORESERVE",
        "if inode.i_flags & S_PRIVATE and inode.i_nlink:\n        vm_flags |= VM_NORESERVE",
        field="inodes..2.resv_map.region_cache_count",
        trace="""
        world nr_hugepages=1
        spawn id=A
        shmget shm=s1 len=1
        shmat proc=A shm=s1 map=m1
        """,
    ),
    Planted(
        "uffd_copy",
        "keeps the reservation used when the source could not be read",
        "hugetlb_mfill_atomic_pte",
        "let the caller copy.\n            restore_reserve_on_error(h, dst_vma, dst_addr, folio)\n",
        "let the caller copy.\n",
        field="vmas.A.68719476736.resv_map.region_cache_count",
        trace="""
        world nr_overcommit_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        fail_copy what=user_atomic count=1
        fail_copy what=page count=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0
        """,
    ),
    Planted(
        "uffd_continue",
        "leaves the page locked when it was mapped already",
        "hugetlb_mfill_atomic_pte",
        "if vm_shared or is_continue:\n            folio_unlock(folio)\n        if not",
        "if vm_shared and not is_continue:\n            folio_unlock(folio)\n        if not",
        field="folios.0.flags.locked",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=shared len=1 populate=1
        uffd_register proc=A map=m1
        uffd_continue proc=A map=m1 page=0
        """,
    ),
    Planted(
        "demote",
        "demotes pages that others have reserved",
        "demote_store",
        "nr_available = (nr_available - h.resv_huge_pages) & ULONG_MAX",
        "nr_available = nr_available & ULONG_MAX",
        field="pool.hugepages-2048kB.nr",
        trace="""
        world hstates=2M,1G nr_hugepages_1g=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 size=1G
        demote n=1
        """,
    ),
    Planted(
        "dissolve",
        "dissolves the last page that a reservation needs",
        "dissolve_free_hugetlb_folio",
        "if not available_huge_pages(h):",
        "if not h.free_huge_pages:",
        field="outcome.ret",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        hard_offline node=0 frame=0
        """,
    ),
    Planted(
        "clear_range",
        "does not count the page that takes the other's place",
        "alloc_and_dissolve_hugetlb_folio",
        "        _prep_account_new_huge_page(h, nid)\n",
        "",
        field="pool.hugepages-2048kB.nr",
        trace="""
        world nr_hugepages=1
        clear_range node=0 frame=0
        """,
    ),
    Planted(
        "hwpoison",
        "hands out a page with a memory error",
        "dequeue_hugetlb_folio_node_exact",
        "if folio.hwpoison:\n            continue",
        "if folio.hwpoison and folio.refcount:\n            continue",
        field="lists.0.hugepage_freelists.0.0",
        trace="""
        world nodes=1 nr_hugepages=2
        spawn id=A
        mmap proc=A map=m1 type=private len=2
        hard_offline node=0 frame=0
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "cgroup_usage",
        "keeps the charge when there is no page",
        "alloc_hugetlb_folio",
        "if undo >= 3:",
        "if undo > 3:",
        field="cgroups./.0.current",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 populate=1
        fork proc=A child=B
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "cgroup_rsvd",
        "takes back the charge of unused reservations only",
        "hugetlb_vm_op_close",
        "hugetlb_cgroup_uncharge_counter(resv, start, end)",
        "hugetlb_cgroup_uncharge_counter(resv, start, start + reserve)",
        field="cgroups./.0.rsvd.current",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        fail_copy what=user_atomic count=1
        fail_copy what=page count=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0
        munmap proc=A map=m1
        """,
    ),
    Planted(
        "cgroup_limit",
        "takes rsvd.max for max",
        "hugetlb_cgroup_write",
        "if attr == RES_RSVD_LIMIT:",
        "if attr == RES_RSVD_USAGE:",
        field="limits.g1.0.max",
        trace="""
        world
        cgroup_create cgroup=g1
        cgroup_set cgroup=g1 file=rsvd.max value=0
        """,
    ),
    Planted(
        "cgroup_events",
        "counts only refused use as an event, not refused reservations",
        "_hugetlb_cgroup_charge_cgroup",
        "hugetlb_event(h_cg, idx)",
        "rsvd or hugetlb_event(h_cg, idx)",
        field="limits.g1.0.events",
        trace="""
        world
        spawn id=A
        cgroup_create cgroup=g1
        cgroup_set cgroup=g1 file=rsvd.max value=0
        cgroup_attach cgroup=g1 target=A
        mmap proc=A map=m1 type=private len=1
        """,
    ),
    Planted(
        "cgroup_reparent",
        "leaves the removed cgroup in the page",
        "hugetlb_cgroup_move_parent",
        "set_hugetlb_cgroup(folio, parent)",
        "set_hugetlb_cgroup(folio, h_cg)",
        field="folios.0.hugetlb_cgroup",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        cgroup_create cgroup=g1
        cgroup_attach cgroup=g1 target=A
        fallocate proc=A fd=f1 off=0 len=1
        exit proc=A
        cgroup_rmdir cgroup=g1
        """,
    ),
    Planted(
        "cgroup_region",
        "the second half of a split region does not hold the cgroup",
        "copy_hugetlb_cgroup_uncharge_info",
        "if rg.css is not None:",
        "if nrg.css is not rg.css:",
        field="cgroups.g1.refcount",
        trace="""
        world nr_hugepages=3
        spawn id=A
        cgroup_create cgroup=g1
        cgroup_attach cgroup=g1 target=A
        mmap proc=A map=m1 type=shared len=3 populate=1
        madvise proc=A map=m1 advice=remove start=1
        """,
    ),
    Planted(
        "memcg",
        "keeps the memory charge when the reservation cannot be looked up or no page is there",
        "alloc_hugetlb_folio",
        "mem_cgroup_cancel_charge(memcg, nr_pages)\n    mem_cgroup_put(memcg)\n    return -ENOSPC",
        "mem_cgroup_commit_charge\n    mem_cgroup_put(memcg)\n    return -ENOSPC",
        field="memcg.g1.current",
        trace="""
        world nr_hugepages=1 memory_hugetlb_accounting=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        cgroup_create cgroup=g1
        cgroup_set cgroup=g1 file=max value=0
        cgroup_attach cgroup=g1 target=A
        touch_write proc=A map=m1 page=0
        """,
    ),
    Planted(
        "fail_charge",
        "keeps the charge of the reservation when the use cannot be charged",
        "alloc_hugetlb_folio",
        "if undo >= 2 and deferred_reserve:",
        "if undo >= 3 and deferred_reserve:",
        field="limits.g1.0.rsvd.current",
        trace="""
        world
        spawn id=A
        mount mount=h0
        open proc=A fd=f1 mount=h0 name=x
        cgroup_create cgroup=g1
        cgroup_set cgroup=g1 file=max value=0
        cgroup_attach cgroup=g1 target=A
        fallocate proc=A fd=f1 off=0 len=1
        """,
    ),
    Planted(
        "allowed_mems",
        "refuses a reservation that takes the last allowed page",
        "hugetlb_acct_memory",
        "if delta > allowed_mems_nr(h):",
        "if delta >= allowed_mems_nr(h):",
        field="outcome.ret",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        """,
    ),
    Planted(
        "overcommit",
        "keeps one page less in the pool than it has reserved",
        "gather_surplus_pages",
        "            if needed < 0:\n                break",
        "            if needed <= 0:\n                break",
        field="outcome.ret",
        trace="""
        world nr_overcommit_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        """,
    ),
    Planted(
        "surplus_return",
        "gives pages back without counting them off the surplus",
        "return_unused_surplus_pages",
        "remove_pool_hugetlb_folio(h, node_states[N_MEMORY], True)",
        "remove_pool_hugetlb_folio(h, node_states[N_MEMORY], False)",
        field="pool.hugepages-2048kB.surplus",
        trace="""
        world nr_overcommit_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1
        munmap proc=A map=m1
        """,
    ),
    Planted(
        "surplus_node",
        "gives a page back when any node has surplus",
        "free_huge_folio",
        "elif h.surplus_huge_pages_node[nid]:",
        "elif h.surplus_huge_pages:",
        field="pool.hugepages-2048kB.nr",
        trace="""
        world nr_hugepages=2 nr_overcommit_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=2 noreserve=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0
        uffd_copy proc=A map=m1 page=1 cold=1
        """,
    ),
    Planted(
        "surplus_shrink",
        "makes more pages of a node surplus than it has",
        "adjust_pool_surplus",
        "if h.surplus_huge_pages_node[node] < h.nr_huge_pages_node[node]:",
        "if h.surplus_huge_pages_node[node] <= h.nr_huge_pages_node[node]:",
        field="nodes.0.surplus.0",
        trace="""
        world nr_hugepages=3
        spawn id=A
        mmap proc=A map=m1 type=private len=2 populate=1
        set_nr_hugepages n=0
        """,
    ),
    Planted(
        "guest",
        "does not note in the page which subpool it belongs to",
        "alloc_hugetlb_folio",
        "hugetlb_set_folio_subpool(folio, spool)",
        "hugetlb_set_folio_subpool(folio, spool if map_chg else None)",
        field="folios.0.subpool",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=0
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1
        touch_write proc=A map=m1 page=0
        """,
    ),
)

#: Seen in the calls into the environment alone, so only under the relation ``effects``.
EFFECTS = (
    Planted(
        "surplus_probe",
        "allocates a page before it sees that overcommit is used up, and gives it back",
        "alloc_surplus_hugetlb_folio",
        "if h.surplus_huge_pages >= h.nr_overcommit_huge_pages:\n"
        "        spin_unlock_irq(hugetlb_lock)\n",
        "if h.surplus_huge_pages > h.nr_overcommit_huge_pages:\n"
        "        spin_unlock_irq(hugetlb_lock)\n",
        field="effects.18",
        trace="""
        world nr_hugepages=1
        spawn id=A
        mmap proc=A map=m1 type=private len=1 populate=1
        fork proc=A child=B
        touch_write proc=A map=m1 page=0
        """,
    ),
)

PLANTED = (*CORE, *SURFACE, *EFFECTS)
_BY_NAME = {one.name: one for one in PLANTED}


def __getattr__(name: str) -> Series:
    """The series of the planted bug of that name."""
    found = _BY_NAME.get(name)
    if found is None:
        msg = f"no planted bug is called {name!r}"
        raise AttributeError(msg)
    return found.series()
