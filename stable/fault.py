"""Faults in 6.12.117: the folio itself tells a copy by the owner, not the page cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import (
    HPAGE_RESV_OWNER,
    HPAGE_RESV_UNMAPPED,
    huge_page_mask,
    huge_page_shift,
    huge_page_size,
    pages_per_huge_page,
)
from models.kernel.errno import IS_ERR
from models.kernel.machine import bug_on, warn_on_once
from models.kernel.pgtable import MARKER_POISONED
from models.kernel.port import ported
from models.kernel.structs import (
    VM_MAYSHARE,
    VM_SHARED,
    VM_UFFD_MINOR,
    VM_UFFD_MISSING,
    VM_UFFD_WP,
    VM_WRITE,
)
from models.kernel.vmfault import (
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    VM_FAULT_HWPOISON_LARGE,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VmFault,
)

if TYPE_CHECKING:
    from models.hugetlb.fault import (
        hugetlb_add_to_page_cache,
        hugetlb_fault_mutex_hash,
        hugetlb_fault_mutex_table,
        hugetlb_handle_userfault,
        hugetlb_pte_stable,
        unmap_ref_private,
    )
    from models.hugetlb.inline import (
        hstate_index,
        hstate_vma,
        hugetlb_count_add,
        vma_hugecache_offset,
    )
    from models.hugetlb.vma_resv import (
        hugetlb_vma_lock_read,
        hugetlb_vma_unlock_read,
        is_vma_resv_set,
        restore_reserve_on_error,
        vma_end_reservation,
        vma_needs_reservation,
    )
    from models.kernel.filemap import filemap_lock_hugetlb_folio
    from models.kernel.locks import mutex_lock, mutex_unlock, spin_lock, spin_unlock
    from models.kernel.migrate import migration_entry_wait_huge
    from models.kernel.page import (
        PageAnonExclusive,
        SetPageAnonExclusive,
        _folio_mark_uptodate,
        copy_user_large_folio,
        folio_get,
        folio_lock,
        folio_mapcount,
        folio_put,
        folio_set_hugetlb_migratable,
        folio_test_anon,
        folio_test_hwpoison,
        folio_trylock,
        folio_unlock,
        folio_wait_locked,
        folio_zero_user,
    )
    from models.kernel.pgtable import (
        huge_pte_alloc,
        huge_pte_clear_uffd_wp,
        huge_pte_lock,
        huge_pte_mkdirty,
        huge_pte_mkuffd_wp,
        huge_pte_none_mostly,
        huge_pte_uffd_wp,
        huge_pte_write,
        huge_ptep_clear_flush,
        huge_ptep_get,
        huge_ptep_set_access_flags,
        hugetlb_walk,
        is_hugetlb_entry_hwpoisoned,
        is_hugetlb_entry_migration,
        make_huge_pte,
        pte_marker_uffd_wp,
        pte_mkyoung,
        pte_present,
        pte_same,
        set_huge_pte_at,
        set_huge_ptep_writable,
    )
    from models.kernel.rmap import (
        folio_move_anon_rmap,
        hugetlb_add_file_rmap,
        hugetlb_add_new_anon_rmap,
        hugetlb_remove_rmap,
    )
    from models.kernel.structs import MM, AddressSpace, Folio, VmArea
    from models.kernel.vmfault import (
        VM_FAULT_SET_HINDEX,
        _vmf_anon_prepare,
        handle_userfault,
        userfaultfd_minor,
        userfaultfd_missing,
        userfaultfd_wp,
        userfaultfd_wp_async,
        vmf_error,
    )
    from stable.alloc_cgroup import alloc_hugetlb_folio


@ported("mm/hugetlb.c", "hugetlb_wp")
def hugetlb_wp(vmf: VmFault) -> int:
    """A write to (or the unsharing of) a page that is mapped read-only: reuse it or copy it.

    Called and left with the page table's lock held. Returns VM_FAULT_* bits.
    """
    vma = vmf.vma
    mm = vma.vm_mm
    assert mm is not None
    unshare = vmf.flags & FAULT_FLAG_UNSHARE != 0
    pte = huge_ptep_get(mm, vmf.address, vmf.pte)
    h = hstate_vma(vma)
    cow_from_owner = False
    ret = 0

    if not unshare and huge_pte_uffd_wp(pte):
        return 0

    if warn_on_once(
        not unshare and not vma.vm_flags & VM_WRITE,
        "hugetlb_wp: !unshare && !(vma->vm_flags & VM_WRITE)",
    ):
        return VM_FAULT_SIGSEGV

    if vma.vm_flags & VM_MAYSHARE:
        set_huge_ptep_writable(vma, vmf.address, vmf.pte)
        return 0

    old_folio = pte.folio
    assert old_folio is not None

    while True:  # retry_avoidcopy
        # The map count decides, not the reference count: a copy because of a passing reference
        # would kill processes when the pool is empty.
        if folio_mapcount(old_folio) == 1 and folio_test_anon(old_folio):
            if not PageAnonExclusive(old_folio):
                folio_move_anon_rmap(old_folio, vma)
                SetPageAnonExclusive(old_folio)
            if not unshare:
                set_huge_ptep_writable(vma, vmf.address, vmf.pte)
            return 0
        bug_on(
            folio_test_anon(old_folio) and PageAnonExclusive(old_folio),
            "hugetlb_wp: folio_test_anon(old_folio) && PageAnonExclusive(&old_folio->page)",
        )

        # An anonymous page is the owner's: its reserve was used for it.
        if is_vma_resv_set(vma, HPAGE_RESV_OWNER) and folio_test_anon(old_folio):
            cow_from_owner = True

        folio_get(old_folio)

        # The buddy allocator may be called.
        spin_unlock(vmf.ptl)
        new_folio = alloc_hugetlb_folio(vma, vmf.address, cow_from_owner)
        if not IS_ERR(new_folio):
            break

        if not cow_from_owner:
            ret = vmf_error(new_folio)
            folio_put(old_folio)
            spin_lock(vmf.ptl)
            return ret

        # The owner relies on its reserve: take the page from its children instead.
        folio_put(old_folio)
        assert vma.vm_file is not None
        mapping = vma.vm_file.f_mapping
        idx = vma_hugecache_offset(h, vma, vmf.address)
        hash = hugetlb_fault_mutex_hash(mapping, idx)
        hugetlb_vma_unlock_read(vma)
        mutex_unlock(hugetlb_fault_mutex_table[hash])

        unmap_ref_private(mm, vma, old_folio, vmf.address)

        mutex_lock(hugetlb_fault_mutex_table[hash])
        hugetlb_vma_lock_read(vma)
        spin_lock(vmf.ptl)
        slot = hugetlb_walk(vma, vmf.address, huge_page_size(h))
        if slot is not None:
            vmf.pte = slot
        if slot is None or not pte_same(huge_ptep_get(mm, vmf.address, slot), pte):
            # Somebody else changed the entry: our job is done.
            return 0

    ret = _vmf_anon_prepare(vmf)
    if not ret:
        if copy_user_large_folio(new_folio, old_folio, vmf.real_address, vma):
            ret = VM_FAULT_HWPOISON_LARGE | VM_FAULT_SET_HINDEX(hstate_index(h))
        else:
            _folio_mark_uptodate(new_folio)

            # Look for changes that happened meanwhile.
            spin_lock(vmf.ptl)
            slot = hugetlb_walk(vma, vmf.address, huge_page_size(h))
            if slot is not None:
                vmf.pte = slot
            if slot is not None and pte_same(huge_ptep_get(mm, vmf.address, slot), pte):
                newpte = make_huge_pte(vma, new_folio, not unshare)
                huge_ptep_clear_flush(vma, vmf.address, vmf.pte)
                hugetlb_remove_rmap(old_folio)
                hugetlb_add_new_anon_rmap(new_folio, vma, vmf.address)
                if huge_pte_uffd_wp(pte):
                    newpte = huge_pte_mkuffd_wp(newpte)
                set_huge_pte_at(mm, vmf.address, vmf.pte, newpte, huge_page_size(h))
                folio_set_hugetlb_migratable(new_folio)
                # The old page is the one to be freed below.
                new_folio = old_folio
            spin_unlock(vmf.ptl)
    # out_release_all: nothing is restored when the new page was mapped.
    if new_folio is not old_folio:
        restore_reserve_on_error(h, vma, vmf.address, new_folio)
    folio_put(new_folio)
    folio_put(old_folio)

    spin_lock(vmf.ptl)
    return ret


@ported("mm/hugetlb.c", "hugetlb_no_page")
def hugetlb_no_page(mapping: AddressSpace, vmf: VmFault) -> int:
    """A fault where nothing is mapped: find the file's page or allocate one, and map it.

    Called with the fault mutex and the vma lock held, which it releases. Returns VM_FAULT_* bits.
    """
    vma = vmf.vma
    mm = vma.vm_mm
    assert mm is not None
    h = hstate_vma(vma)
    ret = VM_FAULT_SIGBUS
    anon_rmap = False
    new_pagecache_folio = False
    folio_locked = True
    hash = hugetlb_fault_mutex_hash(mapping, vmf.pgoff)

    # Its page went to the owner by unmap_ref_private(): a zero page here would be data loss.
    if is_vma_resv_set(vma, HPAGE_RESV_UNMAPPED):
        hugetlb_vma_unlock_read(vma)
        mutex_unlock(hugetlb_fault_mutex_table[hash])
        return ret

    new_folio = False
    folio = filemap_lock_hugetlb_folio(h, mapping, vmf.pgoff)
    if IS_ERR(folio):
        assert mapping.host is not None
        size = mapping.host.i_size >> huge_page_shift(h)
        if vmf.pgoff >= size:
            hugetlb_vma_unlock_read(vma)
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            return ret
        if userfaultfd_missing(vma):
            if not hugetlb_pte_stable(h, mm, vmf.address, vmf.pte, vmf.orig_pte):
                hugetlb_vma_unlock_read(vma)
                mutex_unlock(hugetlb_fault_mutex_table[hash])
                return 0
            return hugetlb_handle_userfault(vmf, mapping, VM_UFFD_MISSING)

        if not vma.vm_flags & VM_MAYSHARE:
            ret = _vmf_anon_prepare(vmf)
            if ret:
                hugetlb_vma_unlock_read(vma)
                mutex_unlock(hugetlb_fault_mutex_table[hash])
                return ret

        folio = alloc_hugetlb_folio(vma, vmf.address, False)
        if IS_ERR(folio):
            # Migration clears an entry for a moment: report the error only if there is none.
            if hugetlb_pte_stable(h, mm, vmf.address, vmf.pte, vmf.orig_pte):
                ret = vmf_error(folio)
            else:
                ret = 0
            hugetlb_vma_unlock_read(vma)
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            return ret
        folio_zero_user(folio, vmf.real_address)
        _folio_mark_uptodate(folio)
        new_folio = True

        if vma.vm_flags & VM_MAYSHARE:
            err = hugetlb_add_to_page_cache(folio, mapping, vmf.pgoff)
            if err:
                restore_reserve_on_error(h, vma, vmf.address, folio)
                folio_put(folio)
                ret = VM_FAULT_SIGBUS
                hugetlb_vma_unlock_read(vma)
                mutex_unlock(hugetlb_fault_mutex_table[hash])
                return ret
            new_pagecache_folio = True
        else:
            folio_lock(folio)
            anon_rmap = True
    else:
        # A memory error may have hit the page before this process had an entry for it.
        if folio_test_hwpoison(folio):
            ret = VM_FAULT_HWPOISON_LARGE | VM_FAULT_SET_HINDEX(hstate_index(h))
            folio_unlock(folio)
            folio_put(folio)
            hugetlb_vma_unlock_read(vma)
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            return ret

        if userfaultfd_minor(vma):
            folio_unlock(folio)
            folio_put(folio)
            if not hugetlb_pte_stable(h, mm, vmf.address, vmf.pte, vmf.orig_pte):
                hugetlb_vma_unlock_read(vma)
                mutex_unlock(hugetlb_fault_mutex_table[hash])
                return 0
            return hugetlb_handle_userfault(vmf, mapping, VM_UFFD_MINOR)

    # A copy may follow: what is needed to record its reservation is allocated outside the spinlock.
    backout = False
    if vmf.flags & FAULT_FLAG_WRITE and not vma.vm_flags & VM_SHARED:
        if vma_needs_reservation(h, vma, vmf.address) < 0:
            ret = VM_FAULT_OOM
            backout = True
        else:
            vma_end_reservation(h, vma, vmf.address)

    if not backout:
        vmf.ptl = huge_pte_lock(h, mm, vmf.pte)
        ret = 0
        if not pte_same(huge_ptep_get(mm, vmf.address, vmf.pte), vmf.orig_pte):
            spin_unlock(vmf.ptl)
            backout = True

    if backout:
        if new_folio and not new_pagecache_folio:
            restore_reserve_on_error(h, vma, vmf.address, folio)
        folio_unlock(folio)
        folio_put(folio)
        hugetlb_vma_unlock_read(vma)
        mutex_unlock(hugetlb_fault_mutex_table[hash])
        return ret

    if anon_rmap:
        hugetlb_add_new_anon_rmap(folio, vma, vmf.address)
    else:
        hugetlb_add_file_rmap(folio)
    new_pte = make_huge_pte(vma, folio, bool(vma.vm_flags & VM_WRITE and vma.vm_flags & VM_SHARED))
    if pte_marker_uffd_wp(vmf.orig_pte):
        new_pte = huge_pte_mkuffd_wp(new_pte)
    set_huge_pte_at(mm, vmf.address, vmf.pte, new_pte, huge_page_size(h))

    hugetlb_count_add(pages_per_huge_page(h), mm)
    if vmf.flags & FAULT_FLAG_WRITE and not vma.vm_flags & VM_SHARED:
        # A folio of a file need not stay locked, see hugetlb_fault().
        if not anon_rmap:
            folio_locked = False
            folio_unlock(folio)
        # Copy at once, without a second fault.
        ret = hugetlb_wp(vmf)

    # A page that was in the page cache may be isolated for migration.
    if new_folio:
        folio_set_hugetlb_migratable(folio)

    if folio_locked:
        folio_unlock(folio)

    # The page table owns the folio's reference: hold its lock until the folio is done with.
    spin_unlock(vmf.ptl)
    hugetlb_vma_unlock_read(vma)
    mutex_unlock(hugetlb_fault_mutex_table[hash])
    return ret


@ported("mm/hugetlb.c", "hugetlb_fault")
def hugetlb_fault(mm: MM, vma: VmArea, address: int, flags: int) -> int:
    """Resolve a fault at ``address`` (bytes) with FAULT_FLAG_* ``flags``; VM_FAULT_* bits."""
    folio: Folio | None = None
    h = hstate_vma(vma)
    need_wait_lock = False
    base = address & huge_page_mask(h)
    vmf = VmFault(vma, base, address, flags, vma_hugecache_offset(h, vma, base))

    assert vma.vm_file is not None
    mapping = vma.vm_file.f_mapping
    hash = hugetlb_fault_mutex_hash(mapping, vmf.pgoff)
    mutex_lock(hugetlb_fault_mutex_table[hash])

    hugetlb_vma_lock_read(vma)
    slot = huge_pte_alloc(mm, vma, vmf.address, huge_page_size(h))
    if slot is None:
        hugetlb_vma_unlock_read(vma)
        mutex_unlock(hugetlb_fault_mutex_table[hash])
        return VM_FAULT_OOM
    vmf.pte = slot

    vmf.orig_pte = huge_ptep_get(mm, vmf.address, vmf.pte)
    if huge_pte_none_mostly(vmf.orig_pte):
        if vmf.orig_pte.special == MARKER_POISONED:
            hugetlb_vma_unlock_read(vma)
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            return VM_FAULT_HWPOISON_LARGE | VM_FAULT_SET_HINDEX(hstate_index(h))
        # Releases the vma lock and the mutex.
        return hugetlb_no_page(mapping, vmf)

    ret = 0

    if not pte_present(vmf.orig_pte):
        if is_hugetlb_entry_migration(vmf.orig_pte):
            # The vma lock guards the table's lock, and is released by who waits.
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            migration_entry_wait_huge(vma, vmf.address, vmf.pte)
            return 0
        if is_hugetlb_entry_hwpoisoned(vmf.orig_pte):
            ret = VM_FAULT_HWPOISON_LARGE | VM_FAULT_SET_HINDEX(hstate_index(h))
        hugetlb_vma_unlock_read(vma)
        mutex_unlock(hugetlb_fault_mutex_table[hash])
        return ret

    # A copy may follow: what is needed to record its reservation is allocated outside the
    # spinlock.
    if (
        flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)
        and not vma.vm_flags & VM_MAYSHARE
        and not huge_pte_write(vmf.orig_pte)
    ):
        if vma_needs_reservation(h, vma, vmf.address) < 0:
            hugetlb_vma_unlock_read(vma)
            mutex_unlock(hugetlb_fault_mutex_table[hash])
            return VM_FAULT_OOM
        vma_end_reservation(h, vma, vmf.address)

    vmf.ptl = huge_pte_lock(h, mm, vmf.pte)

    if pte_same(vmf.orig_pte, huge_ptep_get(mm, vmf.address, vmf.pte)):
        if (
            userfaultfd_wp(vma)
            and huge_pte_uffd_wp(huge_ptep_get(mm, vmf.address, vmf.pte))
            and flags & FAULT_FLAG_WRITE
            and not huge_pte_write(vmf.orig_pte)
        ):
            if not userfaultfd_wp_async(vma):
                spin_unlock(vmf.ptl)
                hugetlb_vma_unlock_read(vma)
                mutex_unlock(hugetlb_fault_mutex_table[hash])
                return handle_userfault(vmf, VM_UFFD_WP)

            vmf.orig_pte = huge_pte_clear_uffd_wp(vmf.orig_pte)
            set_huge_pte_at(mm, vmf.address, vmf.pte, vmf.orig_pte, huge_page_size(h))
            # Fall through to the copy.

        wp = False
        if flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE):
            if not huge_pte_write(vmf.orig_pte):
                # An anonymous folio may be reused if this is its only user: needs its lock.
                folio = vmf.orig_pte.folio
                assert folio is not None
                if folio_test_anon(folio) and not folio_trylock(folio):
                    need_wait_lock = True
                else:
                    folio_get(folio)
                    ret = hugetlb_wp(vmf)
                    if folio_test_anon(folio):
                        folio_unlock(folio)
                    folio_put(folio)
                wp = True
            elif flags & FAULT_FLAG_WRITE:
                vmf.orig_pte = huge_pte_mkdirty(vmf.orig_pte)
        if not wp:
            vmf.orig_pte = pte_mkyoung(vmf.orig_pte)
            huge_ptep_set_access_flags(
                vma, vmf.address, vmf.pte, vmf.orig_pte, flags & FAULT_FLAG_WRITE
            )
    spin_unlock(vmf.ptl)
    hugetlb_vma_unlock_read(vma)
    mutex_unlock(hugetlb_fault_mutex_table[hash])
    # hugetlb_wp() may drop everything but the folio's lock: waiting for that with the mutex held
    # would deadlock, and the folio is not used afterwards.
    if need_wait_lock:
        assert folio is not None
        folio_wait_locked(folio)
    return ret
