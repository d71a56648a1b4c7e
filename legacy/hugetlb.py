"""mm/hugetlb.c before the series (v6.12-rc3): its complete namespace, in the file's order.

What no built-in series touches is ported in ``models.hugetlb`` and brought in by name, where the C
has it; what the series touches is written out. Read it beside ``refactored/hugetlb.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import HPAGE_RESV_OWNER, HState, pages_per_huge_page
from models.kernel.errno import ENOMEM, ENOSPC
from models.kernel.gfp import _GFP_RETRY_MAYFAIL
from models.kernel.lists import list_add
from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.machine import ULONG_MAX
from models.kernel.port import ported
from models.kernel.structs import VM_MAYSHARE, VM_NORESERVE, Folio, VmArea

if TYPE_CHECKING:
    from models.hugetlb.cgroup import (
        hugetlb_cgroup_charge_cgroup,
        hugetlb_cgroup_charge_cgroup_rsvd,
        hugetlb_cgroup_commit_charge,
        hugetlb_cgroup_commit_charge_rsvd,
        hugetlb_cgroup_uncharge_cgroup,
        hugetlb_cgroup_uncharge_cgroup_rsvd,
        hugetlb_cgroup_uncharge_folio_rsvd,
    )
    from models.hugetlb.hstate import htlb_alloc_mask, hugetlb_lock
    from models.hugetlb.inline import hstate_index, hstate_vma
    from models.kernel.memcg import (
        get_mem_cgroup_from_current,
        mem_cgroup_cancel_charge,
        mem_cgroup_commit_charge,
        mem_cgroup_hugetlb_try_charge,
        mem_cgroup_put,
    )
    from models.kernel.mempolicy import huge_node, mpol_cond_put, mpol_is_preferred_many
    from models.kernel.page import (
        folio_ref_unfreeze,
        folio_set_hugetlb_restore_reserve,
        hugetlb_set_folio_subpool,
    )

from models.hugetlb.folio_list import hugetlb_free_folio
from models.hugetlb.hstate import hstate_is_gigantic_no_runtime
from models.hugetlb.subpool import (
    subpool_is_free,
    unlock_or_release_subpool,
    hugepage_new_subpool,
    hugepage_put_subpool,
    hugepage_subpool_get_pages,
    hugepage_subpool_put_pages,
)
from models.hugetlb.inline import subpool_inode, subpool_vma
from models.hugetlb.vma_resv import (
    hugetlb_vma_lock_read,
    hugetlb_vma_unlock_read,
    hugetlb_vma_lock_write,
    hugetlb_vma_unlock_write,
    hugetlb_vma_trylock_write,
    hugetlb_vma_assert_locked,
    hugetlb_vma_lock_release,
    _hugetlb_vma_unlock_write_put,
    _hugetlb_vma_unlock_write_free,
    hugetlb_vma_lock_free,
    hugetlb_vma_lock_alloc,
)
from models.hugetlb.region import (
    get_file_region_entry_from_cache,
    copy_hugetlb_cgroup_uncharge_info,
    record_hugetlb_cgroup_uncharge_info,
    put_uncharge_info,
    has_same_uncharge_info,
    coalesce_file_region,
    hugetlb_resv_map_add,
    add_reservation_in_range,
    allocate_file_region_entries,
    region_add,
    region_chg,
    region_abort,
    region_del,
)
from models.hugetlb.reserve import hugetlb_fix_reserve_counts
from models.hugetlb.region import region_count
from models.hugetlb.inline import vma_hugecache_offset
from models.hugetlb.vma_resv import (
    get_vma_private_data,
    set_vma_private_data,
    resv_map_set_hugetlb_cgroup_uncharge_info,
    resv_map_alloc,
    resv_map_release,
    inode_resv_map,
    vma_resv_map,
    set_vma_resv_map,
    set_vma_resv_flags,
    is_vma_resv_set,
    _vma_private_lock,
    hugetlb_dup_vma_private,
    clear_vma_resv_huge_pages,
)


@ported("mm/hugetlb.c", "vma_has_reserves")
def vma_has_reserves(vma: VmArea, chg: int) -> bool:
    """Whether an allocation for the vma takes a reserved page.

    ``chg`` (0 or 1 huge pages) is what the allocation adds to the global reservations: 0 if one
    was made for it.
    """
    if vma.vm_flags & VM_NORESERVE:
        # Somebody else reserved the page of a shared file: it must be counted off, or the count
        # would stay when the page comes back as a reserved one.
        if vma.vm_flags & VM_MAYSHARE and chg == 0:
            return True
        else:
            return False
    # A shared mapping: reserved, unless a hole was punched into the file.
    if vma.vm_flags & VM_MAYSHARE:
        if chg:
            return False
        else:
            return True
    # A private one: reserved for whoever called mmap(), unless used up.
    if is_vma_resv_set(vma, HPAGE_RESV_OWNER):
        if chg:
            return False
        else:
            return True
    return False


from models.hugetlb.folio_list import (
    enqueue_hugetlb_folio,
    dequeue_hugetlb_folio_node_exact,
    dequeue_hugetlb_folio_nodemask,
    available_huge_pages,
)


@ported("mm/hugetlb.c", "dequeue_hugetlb_folio_vma")
def dequeue_hugetlb_folio_vma(
    h: HState, vma: VmArea, address: int, avoid_reserve: int, chg: int
) -> Folio | None:
    """Take a folio from the pool for an address (bytes), and its reservation if it has one.

    Returns None if there is none to be had, or all are reserved by others. hugetlb_lock is held.
    """
    folio: Folio | None = None
    # A child has no reservations in its parent's private mappings, and must not steal any.
    if not vma_has_reserves(vma, chg) and not available_huge_pages(h):
        return None
    if avoid_reserve and not available_huge_pages(h):
        return None
    gfp_mask = htlb_alloc_mask(h)
    nid, mpol, nodemask = huge_node(vma, address, gfp_mask)
    if mpol_is_preferred_many(mpol):
        folio = dequeue_hugetlb_folio_nodemask(h, gfp_mask, nid, nodemask)
        # Else any node will do.
        nodemask = None
    if folio is None:
        folio = dequeue_hugetlb_folio_nodemask(h, gfp_mask, nid, nodemask)
    if folio is not None and not avoid_reserve and vma_has_reserves(vma, chg):
        folio_set_hugetlb_restore_reserve(folio)
        h.resv_huge_pages = (h.resv_huge_pages - 1) & ULONG_MAX
    mpol_cond_put(mpol)
    return folio


from models.hugetlb.hstate import (
    next_node_allowed,
    get_valid_node_allowed,
    hstate_next_node_to_alloc,
    hstate_next_node_to_free,
    for_each_node_mask_to_alloc,
    for_each_node_mask_to_free,
)
from models.hugetlb.surplus import alloc_gigantic_folio
from models.hugetlb.folio_list import (
    remove_hugetlb_folio,
    add_hugetlb_folio,
    _update_and_free_hugetlb_folio,
    free_hpage_workfn,
    flush_free_hpage_work,
    update_and_free_hugetlb_folio,
    bulk_vmemmap_restore_error,
    update_and_free_pages_bulk,
)
from models.hugetlb.hstate import size_to_hstate
from models.hugetlb.folio_list import (
    free_huge_folio,
    _prep_account_new_huge_page,
    init_new_hugetlb_folio,
    _prep_new_hugetlb_folio,
    prep_new_hugetlb_folio,
)
from models.kernel.migrate import hugetlb_folio_mapping_lock_write
from models.hugetlb.surplus import (
    alloc_buddy_hugetlb_folio,
    only_alloc_fresh_hugetlb_folio,
    alloc_fresh_hugetlb_folio,
)
from models.hugetlb.pool import (
    prep_and_add_allocated_folios,
    alloc_pool_huge_folio,
    remove_pool_hugetlb_folio,
)
from models.hugetlb.dissolve import dissolve_free_hugetlb_folio, dissolve_free_hugetlb_folios
from models.hugetlb.surplus import (
    alloc_surplus_hugetlb_folio,
    alloc_migrate_hugetlb_folio,
    alloc_buddy_hugetlb_folio_with_mpol,
    alloc_hugetlb_folio_reserve,
    alloc_hugetlb_folio_nodemask,
)
from models.hugetlb.accounting import (
    policy_mbind_nodemask,
    gather_surplus_pages,
    return_unused_surplus_pages,
)
from models.hugetlb.vma_resv import (
    _vma_reservation_common,
    vma_needs_reservation,
    vma_commit_reservation,
    vma_end_reservation,
    vma_add_reservation,
    vma_del_reservation,
    restore_reserve_on_error,
)
from models.hugetlb.dissolve import alloc_and_dissolve_hugetlb_folio, isolate_or_dissolve_huge_page
from models.hugetlb.folio_list import wait_for_freed_hugetlb_folios


@ported("mm/hugetlb.c", "alloc_hugetlb_folio")
def alloc_hugetlb_folio(vma: VmArea, addr: int, avoid_reserve: int) -> Folio | int:
    """A huge page for an address (bytes) with one reference, or -ENOMEM or -ENOSPC.

    With ``avoid_reserve`` it does not use a reservation of the vma. ``undo`` says at which of the
    C's labels an error enters: 3 out_uncharge_cgroup, 2 out_uncharge_cgroup_reservation,
    1 out_subpool_put, 0 out_end_reservation.
    """
    spool = subpool_vma(vma)
    h = hstate_vma(vma)
    nr_pages = pages_per_huge_page(h)
    gfp = htlb_alloc_mask(h) | _GFP_RETRY_MAYFAIL
    memcg = get_mem_cgroup_from_current()
    memcg_charge_ret = mem_cgroup_hugetlb_try_charge(memcg, gfp, nr_pages)
    if memcg_charge_ret == -ENOMEM:
        mem_cgroup_put(memcg)
        return -ENOMEM
    idx = hstate_index(h)
    # Zero: the reservation map has a reservation for this page.
    map_chg = gbl_chg = vma_needs_reservation(h, vma, addr)
    if map_chg < 0:
        if not memcg_charge_ret:
            mem_cgroup_cancel_charge(memcg, nr_pages)
        mem_cgroup_put(memcg)
        return -ENOMEM
    undo = 0
    while True:
        if map_chg or avoid_reserve:
            gbl_chg = hugepage_subpool_get_pages(spool, 1)
            if gbl_chg < 0:
                break
            # The page comes from the global pool even if the subpool had one reserved.
            if avoid_reserve:
                gbl_chg = 1
        deferred_reserve = bool(map_chg or avoid_reserve)
        undo = 1
        if deferred_reserve:
            ret, h_cg = hugetlb_cgroup_charge_cgroup_rsvd(idx, pages_per_huge_page(h))
            if ret:
                break
        undo = 2
        ret, h_cg = hugetlb_cgroup_charge_cgroup(idx, pages_per_huge_page(h))
        if ret:
            break
        undo = 3
        spin_lock_irq(hugetlb_lock)
        folio = dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, gbl_chg)
        if folio is None:
            spin_unlock_irq(hugetlb_lock)
            folio = alloc_buddy_hugetlb_folio_with_mpol(h, vma, addr)
            if folio is None:
                break
            spin_lock_irq(hugetlb_lock)
            if not avoid_reserve and vma_has_reserves(vma, gbl_chg):
                folio_set_hugetlb_restore_reserve(folio)
                h.resv_huge_pages = (h.resv_huge_pages - 1) & ULONG_MAX
            list_add(folio.lru, h.hugepage_activelist)
            folio_ref_unfreeze(folio, 1)
        hugetlb_cgroup_commit_charge(idx, pages_per_huge_page(h), h_cg, folio)
        if deferred_reserve:
            hugetlb_cgroup_commit_charge_rsvd(idx, pages_per_huge_page(h), h_cg, folio)
        spin_unlock_irq(hugetlb_lock)
        hugetlb_set_folio_subpool(folio, spool)
        map_commit = vma_commit_reservation(h, vma, addr)
        if map_chg > map_commit:
            # hugetlb_reserve_pages() reserved this page meanwhile: take back what it added for it.
            rsv_adjust = hugepage_subpool_put_pages(spool, 1)
            hugetlb_acct_memory(h, -rsv_adjust)
            if deferred_reserve:
                spin_lock_irq(hugetlb_lock)
                hugetlb_cgroup_uncharge_folio_rsvd(hstate_index(h), pages_per_huge_page(h), folio)
                spin_unlock_irq(hugetlb_lock)
        if not memcg_charge_ret:
            mem_cgroup_commit_charge(folio, memcg)
        mem_cgroup_put(memcg)
        return folio
    if undo >= 3:
        hugetlb_cgroup_uncharge_cgroup(idx, pages_per_huge_page(h), h_cg)
    if undo >= 2 and deferred_reserve:
        hugetlb_cgroup_uncharge_cgroup_rsvd(idx, pages_per_huge_page(h), h_cg)
    if undo >= 1 and (map_chg or avoid_reserve):
        hugepage_subpool_put_pages(spool, 1)
    vma_end_reservation(h, vma, addr)
    if not memcg_charge_ret:
        mem_cgroup_cancel_charge(memcg, nr_pages)
    mem_cgroup_put(memcg)
    return -ENOSPC


from models.hugetlb.hstate import hugetlb_init_hstates
from models.hugetlb.pool import (
    try_to_free_low,
    adjust_pool_surplus,
    persistent_huge_pages,
    set_max_huge_pages,
)
from models.hugetlb.demote import demote_free_hugetlb_folios, demote_pool_huge_page
from models.hugetlb.pool import (
    _nr_hugepages_store_common,
    nr_hugepages_store_common,
    nr_hugepages_store,
    nr_hugepages_mempolicy_store,
    nr_overcommit_hugepages_store,
)
from models.hugetlb.demote import demote_store, demote_size_store
from models.hugetlb.hstate import hugetlb_add_hstate
from models.hugetlb.accounting import allowed_mems_nr
from models.hugetlb.pool import (
    hugetlb_sysctl_handler_common,
    hugetlb_sysctl_handler,
    hugetlb_mempolicy_sysctl_handler,
    hugetlb_overcommit_handler,
)
from models.hugetlb.accounting import hugetlb_acct_memory
from models.hugetlb.vm_ops import (
    hugetlb_vm_op_open,
    hugetlb_vm_op_close,
    hugetlb_vm_op_split,
    hugetlb_vm_op_pagesize,
    hugetlb_vm_op_fault,
)
from models.kernel.pgtable import (
    make_huge_pte,
    set_huge_ptep_writable,
    is_hugetlb_entry_migration,
    is_hugetlb_entry_hwpoisoned,
)
from models.hugetlb.fork import hugetlb_install_folio, copy_hugetlb_page_range
from models.hugetlb.move import move_huge_pte, move_hugetlb_page_tables
from models.hugetlb.unmap import (
    _unmap_hugepage_range,
    _hugetlb_zap_begin,
    _hugetlb_zap_end,
    unmap_hugepage_range,
)
from models.hugetlb.fault import unmap_ref_private, hugetlb_wp
from models.hugetlb.inline import hugetlbfs_pagecache_present
from models.hugetlb.fault import (
    hugetlb_add_to_page_cache,
    hugetlb_handle_userfault,
    hugetlb_pte_stable,
    hugetlb_no_page,
    hugetlb_fault_mutex_hash,
    hugetlb_fault,
)
from models.hugetlb.uffd import alloc_hugetlb_folio_vma, hugetlb_mfill_atomic_pte
from models.hugetlb.protect import hugetlb_change_protection
from models.hugetlb.reserve import hugetlb_reserve_pages, hugetlb_unreserve_pages
from models.kernel.pgtable import huge_pte_alloc, huge_pte_offset
from models.hugetlb.migrate import (
    isolate_hugetlb,
    get_hwpoison_hugetlb_folio,
    folio_putback_active_hugetlb,
    move_hugetlb_state,
)
from models.hugetlb.vm_ops import hugetlb_unshare_pmds
from models.hugetlb.vm_ops import hugetlb_unshare_all_pmds

__all__ = [
    "hugetlb_free_folio",
    "hstate_is_gigantic_no_runtime",
    "subpool_is_free",
    "unlock_or_release_subpool",
    "hugepage_new_subpool",
    "hugepage_put_subpool",
    "hugepage_subpool_get_pages",
    "hugepage_subpool_put_pages",
    "subpool_inode",
    "subpool_vma",
    "hugetlb_vma_lock_read",
    "hugetlb_vma_unlock_read",
    "hugetlb_vma_lock_write",
    "hugetlb_vma_unlock_write",
    "hugetlb_vma_trylock_write",
    "hugetlb_vma_assert_locked",
    "hugetlb_vma_lock_release",
    "_hugetlb_vma_unlock_write_put",
    "_hugetlb_vma_unlock_write_free",
    "hugetlb_vma_lock_free",
    "hugetlb_vma_lock_alloc",
    "get_file_region_entry_from_cache",
    "copy_hugetlb_cgroup_uncharge_info",
    "record_hugetlb_cgroup_uncharge_info",
    "put_uncharge_info",
    "has_same_uncharge_info",
    "coalesce_file_region",
    "hugetlb_resv_map_add",
    "add_reservation_in_range",
    "allocate_file_region_entries",
    "region_add",
    "region_chg",
    "region_abort",
    "region_del",
    "hugetlb_fix_reserve_counts",
    "region_count",
    "vma_hugecache_offset",
    "get_vma_private_data",
    "set_vma_private_data",
    "resv_map_set_hugetlb_cgroup_uncharge_info",
    "resv_map_alloc",
    "resv_map_release",
    "inode_resv_map",
    "vma_resv_map",
    "set_vma_resv_map",
    "set_vma_resv_flags",
    "is_vma_resv_set",
    "_vma_private_lock",
    "hugetlb_dup_vma_private",
    "clear_vma_resv_huge_pages",
    "vma_has_reserves",
    "enqueue_hugetlb_folio",
    "dequeue_hugetlb_folio_node_exact",
    "dequeue_hugetlb_folio_nodemask",
    "available_huge_pages",
    "dequeue_hugetlb_folio_vma",
    "next_node_allowed",
    "get_valid_node_allowed",
    "hstate_next_node_to_alloc",
    "hstate_next_node_to_free",
    "for_each_node_mask_to_alloc",
    "for_each_node_mask_to_free",
    "alloc_gigantic_folio",
    "remove_hugetlb_folio",
    "add_hugetlb_folio",
    "_update_and_free_hugetlb_folio",
    "free_hpage_workfn",
    "flush_free_hpage_work",
    "update_and_free_hugetlb_folio",
    "bulk_vmemmap_restore_error",
    "update_and_free_pages_bulk",
    "size_to_hstate",
    "free_huge_folio",
    "_prep_account_new_huge_page",
    "init_new_hugetlb_folio",
    "_prep_new_hugetlb_folio",
    "prep_new_hugetlb_folio",
    "hugetlb_folio_mapping_lock_write",
    "alloc_buddy_hugetlb_folio",
    "only_alloc_fresh_hugetlb_folio",
    "alloc_fresh_hugetlb_folio",
    "prep_and_add_allocated_folios",
    "alloc_pool_huge_folio",
    "remove_pool_hugetlb_folio",
    "dissolve_free_hugetlb_folio",
    "dissolve_free_hugetlb_folios",
    "alloc_surplus_hugetlb_folio",
    "alloc_migrate_hugetlb_folio",
    "alloc_buddy_hugetlb_folio_with_mpol",
    "alloc_hugetlb_folio_reserve",
    "alloc_hugetlb_folio_nodemask",
    "policy_mbind_nodemask",
    "gather_surplus_pages",
    "return_unused_surplus_pages",
    "_vma_reservation_common",
    "vma_needs_reservation",
    "vma_commit_reservation",
    "vma_end_reservation",
    "vma_add_reservation",
    "vma_del_reservation",
    "restore_reserve_on_error",
    "alloc_and_dissolve_hugetlb_folio",
    "isolate_or_dissolve_huge_page",
    "wait_for_freed_hugetlb_folios",
    "alloc_hugetlb_folio",
    "hugetlb_init_hstates",
    "try_to_free_low",
    "adjust_pool_surplus",
    "persistent_huge_pages",
    "set_max_huge_pages",
    "demote_free_hugetlb_folios",
    "demote_pool_huge_page",
    "_nr_hugepages_store_common",
    "nr_hugepages_store_common",
    "nr_hugepages_store",
    "nr_hugepages_mempolicy_store",
    "nr_overcommit_hugepages_store",
    "demote_store",
    "demote_size_store",
    "hugetlb_add_hstate",
    "allowed_mems_nr",
    "hugetlb_sysctl_handler_common",
    "hugetlb_sysctl_handler",
    "hugetlb_mempolicy_sysctl_handler",
    "hugetlb_overcommit_handler",
    "hugetlb_acct_memory",
    "hugetlb_vm_op_open",
    "hugetlb_vm_op_close",
    "hugetlb_vm_op_split",
    "hugetlb_vm_op_pagesize",
    "hugetlb_vm_op_fault",
    "make_huge_pte",
    "set_huge_ptep_writable",
    "is_hugetlb_entry_migration",
    "is_hugetlb_entry_hwpoisoned",
    "hugetlb_install_folio",
    "copy_hugetlb_page_range",
    "move_huge_pte",
    "move_hugetlb_page_tables",
    "_unmap_hugepage_range",
    "_hugetlb_zap_begin",
    "_hugetlb_zap_end",
    "unmap_hugepage_range",
    "unmap_ref_private",
    "hugetlb_wp",
    "hugetlbfs_pagecache_present",
    "hugetlb_add_to_page_cache",
    "hugetlb_handle_userfault",
    "hugetlb_pte_stable",
    "hugetlb_no_page",
    "hugetlb_fault_mutex_hash",
    "hugetlb_fault",
    "alloc_hugetlb_folio_vma",
    "hugetlb_mfill_atomic_pte",
    "hugetlb_change_protection",
    "hugetlb_reserve_pages",
    "hugetlb_unreserve_pages",
    "huge_pte_alloc",
    "huge_pte_offset",
    "isolate_hugetlb",
    "get_hwpoison_hugetlb_folio",
    "folio_putback_active_hugetlb",
    "move_hugetlb_state",
    "hugetlb_unshare_pmds",
    "hugetlb_unshare_all_pmds",
]
