# Fidelity: DUP
"""Memory errors in huge pages (mm/memory-failure.c, mm/rmap.c).

All memory of the model is either free, or a huge page, or lost to an error; ``pfn`` counts base
pages. Kernel threads have no mappings, nobody asked for early kills, and the error handler is not
run for an hstate's struct pages. The signal that a process gets is noted in ``mce_signal``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import (
    HPG_FREED,
    HPG_MIGRATABLE,
    HPG_RAW_HWP_UNRELIABLE,
    HPG_VMEMMAP_OPTIMIZED,
    huge_page_size,
)
from models.kernel.errno import EBUSY, EHWPOISON, ENXIO
from models.kernel.locks import (
    Lock,
    down_read,
    mutex_lock,
    mutex_unlock,
    spin_lock_irq,
    spin_unlock,
    spin_unlock_irq,
    up_read,
)
from models.kernel.machine import bug_on, inject, warn_on
from models.kernel.pgtable import HWPOISON
from models.kernel.port import ported, static_data
from models.kernel.structs import PAGE_SHIFT, Folio, Pte, VmArea

if TYPE_CHECKING:
    from models.hugetlb.dissolve import dissolve_free_hugetlb_folio, pfn_folio
    from models.hugetlb.hstate import hugetlb_lock
    from models.hugetlb.inline import hstate_vma, hugetlb_count_sub
    from models.hugetlb.vma_resv import hugetlb_vma_trylock_write, hugetlb_vma_unlock_write
    from models.kernel.buddy import (
        PageHWPoisonTakenOff,
        pfn_valid,
        take_page_off_buddy,
    )
    from models.kernel.machine import machine
    from models.kernel.migrate import (
        hugetlb_folio_mapping_lock_write,
        rmap_vmas,
        vma_address,
    )
    from models.kernel.page import (
        folio_lock,
        folio_mapped,
        folio_mapping,
        folio_mark_dirty,
        folio_nr_pages,
        folio_put,
        folio_test_anon,
        folio_try_get,
        folio_unlock,
    )
    from models.kernel.pgtable import (
        huge_pte_lock,
        huge_ptep_clear_flush,
        huge_ptep_get,
        hugetlb_walk,
        pte_present,
        set_huge_pte_at,
    )
    from models.kernel.rmap import hugetlb_remove_rmap, i_mmap_unlock_write

MF_COUNT_INCREASED: Final = 1 << 0
MF_ACTION_REQUIRED: Final = 1 << 1
MF_MUST_KILL: Final = 1 << 2
MF_SOFT_OFFLINE: Final = 1 << 3
MF_UNPOISON: Final = 1 << 4
MF_SW_SIMULATED: Final = 1 << 5
MF_NO_RETRY: Final = 1 << 6

#: Results of get_huge_page_for_hwpoison() and hugetlb_update_hwpoison().
MF_HUGETLB_FREED: Final = 0
MF_HUGETLB_IN_USED: Final = 1
MF_HUGETLB_NON_HUGEPAGE: Final = 2
MF_HUGETLB_FOLIO_PRE_POISONED: Final = 3
MF_HUGETLB_PAGE_PRE_POISONED: Final = 4
MF_HUGETLB_RETRY: Final = 5

#: What came of an error (enum mf_result).
MF_IGNORED: Final = 0
MF_FAILED: Final = 1
MF_DELAYED: Final = 2
MF_RECOVERED: Final = 3

BUS_MCEERR_AR: Final = 4

mf_mutex: Lock
hw_memory_failure: bool
#: si_code of the SIGBUS that the running process got since the operation began, or 0.
mce_signal: int


@static_data
def memory_failure_static() -> None:
    """No error so far."""
    global mf_mutex, hw_memory_failure, mce_signal
    mf_mutex = Lock("mf_mutex")
    hw_memory_failure = False
    mce_signal = 0


def take_mce_signal() -> int:
    """The si_code of the signal of the operation that ends, or 0; forgets it."""
    global mce_signal
    code = mce_signal
    mce_signal = 0
    return code


# ---- which base pages of a huge page are bad ----


@ported("mm/memory-failure.c", "is_raw_hwpoison_page_in_hugepage")
def is_raw_hwpoison_page_in_hugepage(folio: Folio, offset: int) -> bool:
    """Whether base page ``offset`` of the folio is bad, as far as is known."""
    if not folio.hwpoison:
        return False
    if not folio.hugetlb:
        return offset in folio.raw_hwp
    if folio.hpg & HPG_RAW_HWP_UNRELIABLE:
        return True
    mutex_lock(mf_mutex)
    ret = offset in folio.raw_hwp
    mutex_unlock(mf_mutex)
    return ret


@ported("mm/memory-failure.c", "__folio_free_raw_hwp")
def _folio_free_raw_hwp(folio: Folio, move_flag: bool) -> int:
    """Forget which base pages are bad, or leave the mark on these pages alone; returns how many."""
    count = len(folio.raw_hwp)
    # With the mark left on them, the page allocator withholds them when the folio is freed.
    if not move_flag:
        folio.raw_hwp = ()
    return count


@ported("mm/memory-failure.c", "hugetlb_update_hwpoison")
def hugetlb_update_hwpoison(folio: Folio, offset: int) -> int:
    """Mark the folio, and note which base page of it is bad: 0, or that it was marked before."""
    ret = MF_HUGETLB_FOLIO_PRE_POISONED if folio.hwpoison else 0
    folio.hwpoison = True
    if folio.hpg & HPG_RAW_HWP_UNRELIABLE:
        return MF_HUGETLB_FOLIO_PRE_POISONED
    if offset in folio.raw_hwp:
        return MF_HUGETLB_PAGE_PRE_POISONED
    if not inject("kmalloc_raw_hwp"):
        folio.raw_hwp = (offset, *folio.raw_hwp)
    else:
        folio.hpg |= HPG_RAW_HWP_UNRELIABLE
        _folio_free_raw_hwp(folio, False)
    return ret


@ported("mm/memory-failure.c", "folio_free_raw_hwp")
def folio_free_raw_hwp(folio: Folio, move_flag: bool) -> int:
    """The same where it is known which base pages are bad, else 0."""
    if move_flag and folio.hpg & HPG_VMEMMAP_OPTIMIZED:
        return 0
    if folio.hpg & HPG_RAW_HWP_UNRELIABLE:
        return 0
    return _folio_free_raw_hwp(folio, move_flag)


@ported("mm/memory-failure.c", "folio_clear_hugetlb_hwpoison")
def folio_clear_hugetlb_hwpoison(folio: Folio) -> None:
    """Leave the mark of a memory error on the base pages that have one only."""
    if folio.hpg & HPG_RAW_HWP_UNRELIABLE:
        return
    if folio.hpg & HPG_VMEMMAP_OPTIMIZED:
        return
    folio.hwpoison = False
    folio_free_raw_hwp(folio, True)


# ---- unmapping ----


@ported("mm/rmap.c", "try_to_unmap_one")
def try_to_unmap_one(folio: Folio, vma: VmArea, address: int, rmap_locked: bool) -> bool:
    """Put a poison entry in the folio's place at ``address`` (bytes); whether to go on."""
    mm = vma.vm_mm
    assert mm is not None
    h = hstate_vma(vma)
    hsz = huge_page_size(h)
    slot = hugetlb_walk(vma, address, hsz)
    if slot is None:
        return True
    ptl = huge_pte_lock(h, mm, slot)
    pte = huge_ptep_get(mm, address, slot)
    if not pte_present(pte) or pte.folio is not folio:
        spin_unlock(ptl)
        return True
    bug_on(not folio.hwpoison, "try_to_unmap_one: !PageHWPoison(subpage)")
    if not folio_test_anon(folio):
        bug_on(not rmap_locked, "try_to_unmap_one: !(flags & TTU_RMAP_LOCKED)")
        if not hugetlb_vma_trylock_write(vma):
            spin_unlock(ptl)
            return False
        hugetlb_vma_unlock_write(vma)
    pteval = huge_ptep_clear_flush(vma, address, slot)
    if pteval.dirty:
        folio_mark_dirty(folio)
    hugetlb_count_sub(folio_nr_pages(folio), mm)
    set_huge_pte_at(mm, address, slot, Pte(special=HWPOISON), hsz)
    hugetlb_remove_rmap(folio)
    folio_put(folio)
    spin_unlock(ptl)
    return True


@ported("mm/rmap.c", "try_to_unmap")
def try_to_unmap(folio: Folio, rmap_locked: bool) -> None:
    """Put poison entries in all places of a locked folio."""
    for vma in rmap_vmas(folio):
        if not try_to_unmap_one(folio, vma, vma_address(vma, folio.index), rmap_locked):
            break
        if not folio_mapped(folio):
            break


@ported("mm/memory-failure.c", "unmap_poisoned_folio")
def unmap_poisoned_folio(folio: Folio, must_kill: bool) -> int:
    """Take the folio out of all page tables: 0 or -EBUSY. hugetlbfs writes nothing back, so that
    clean pages are not dropped silently."""
    if not folio_test_anon(folio):
        mapping = hugetlb_folio_mapping_lock_write(folio)
        if mapping is None:
            return -EBUSY
        try_to_unmap(folio, True)
        i_mmap_unlock_write(mapping)
    else:
        try_to_unmap(folio, False)
    return -EBUSY if folio_mapped(folio) else 0


@ported("mm/memory-failure.c", "collect_procs")
def collect_procs(folio: Folio, force_early: bool) -> bool:
    """Whether the running process is to get a signal: it maps the folio, and made the error come
    to light. Others are told when they touch the page."""
    current = machine.current
    if current is None or not force_early:
        return False
    for vma in rmap_vmas(folio):
        if vma.vm_mm is not current.mm:
            continue
        if not folio_test_anon(folio):
            return True
        slot = hugetlb_walk(vma, vma_address(vma, folio.index), 1 << (folio.order + PAGE_SHIFT))
        if slot is not None and slot.pte.folio is folio and pte_present(slot.pte):
            return True
    return False


@ported("mm/memory-failure.c", "kill_procs")
def kill_procs(to_kill: bool, forcekill: bool) -> None:
    """Send SIGBUS to the running process if it is the one to be told."""
    global mce_signal
    if to_kill and forcekill:
        mce_signal = BUS_MCEERR_AR


@ported("mm/memory-failure.c", "hwpoison_user_mappings")
def hwpoison_user_mappings(folio: Folio, flags: int) -> bool:
    """Take the folio out of all page tables and tell the process; whether nothing maps it now."""
    if not folio_mapped(folio):
        return True
    to_kill = collect_procs(folio, flags & MF_ACTION_REQUIRED != 0)
    unmap_success = not unmap_poisoned_folio(folio, flags & MF_MUST_KILL != 0)
    forcekill = folio.dirty or flags & MF_MUST_KILL != 0 or not unmap_success
    kill_procs(to_kill, forcekill)
    return unmap_success


@ported("mm/memory-failure.c", "kill_accessing_process")
def kill_accessing_process(pfn: int) -> int:
    """Tell the running process where it maps what was found bad before: -EHWPOISON, or 0 if it
    does not."""
    global mce_signal
    current = machine.current
    assert current is not None
    folio = pfn_folio(pfn)
    down_read(current.mm.mmap_lock)
    found = False
    if folio is not None:
        found = any(slot.pte.folio is folio for slot in current.mm.page_table.values())
    if found:
        mce_signal = BUS_MCEERR_AR
    up_read(current.mm.mmap_lock)
    return -EHWPOISON if found else 0


# ---- what is done about an error ----


@ported("mm/memory-failure.c", "action_result")
def action_result(result: int) -> int:
    """0 if the error does no more harm, else -EBUSY."""
    return 0 if result in (MF_RECOVERED, MF_DELAYED) else -EBUSY


@ported("mm/memory-failure.c", "__page_handle_poison")
def _page_handle_poison(pfn: int) -> int:
    """Dissolve the free huge page and withhold the base page: 1, 0 if it could not be withheld, or
    -errno of dissolving."""
    folio = pfn_folio(pfn)
    ret = dissolve_free_hugetlb_folio(folio) if folio is not None else 0
    if not ret:
        ret = int(take_page_off_buddy(pfn))
    return ret


@ported("mm/memory-failure.c", "has_extra_refcount")
def has_extra_refcount(pfn: int, extra_pins: bool) -> bool:
    """Whether somebody else still holds the page."""
    folio = pfn_folio(pfn)
    # A withheld base page has one reference.
    count = (folio.refcount if folio is not None else 1) - 1
    if extra_pins:
        assert folio is not None
        count -= folio_nr_pages(folio)
    return count > 0


@ported("mm/memory-failure.c", "truncate_error_folio")
def truncate_error_folio(folio: Folio) -> int:
    """Let the file system drop the page: hugetlbfs keeps it and calls that a success."""
    return MF_RECOVERED


@ported("mm/memory-failure.c", "me_huge_page")
def me_huge_page(folio: Folio, pfn: int) -> int:
    """A locked huge page that nothing maps any more has a bad base page.

    One of a file stays in the page cache, with the handler's reference, so that reading it fails
    instead of giving zeroes. An anonymous one is dissolved.
    """
    extra_pins = False
    mapping = folio_mapping(folio)
    if mapping is not None:
        res = truncate_error_folio(folio)
        extra_pins = True
        folio_unlock(folio)
    else:
        folio_unlock(folio)
        folio_put(folio)
        res = MF_RECOVERED if _page_handle_poison(pfn) > 0 else MF_FAILED
    if has_extra_refcount(pfn, extra_pins):
        res = MF_FAILED
    return res


@ported("mm/memory-failure.c", "page_action")
def page_action(folio: Folio, pfn: int) -> int:
    """Do what is to be done about a page: 0 or -EBUSY."""
    return action_result(me_huge_page(folio, pfn))


@ported("mm/memory-failure.c", "get_huge_page_for_hwpoison")
def get_huge_page_for_hwpoison(pfn: int, flags: int) -> tuple[int, bool]:
    """Mark the huge page of a base page as bad and hold it.

    Returns MF_HUGETLB_FREED, MF_HUGETLB_IN_USED (with a reference), or why not; and whether the
    page could be migrated until now.
    """
    count_increased = False
    migratable_cleared = False
    spin_lock_irq(hugetlb_lock)
    folio = pfn_folio(pfn)
    done = False
    if folio is None or not folio.hugetlb:
        ret = MF_HUGETLB_NON_HUGEPAGE
    elif flags & MF_COUNT_INCREASED:
        ret = MF_HUGETLB_IN_USED
        count_increased = True
        done = True
    elif folio.hpg & HPG_FREED:
        ret = MF_HUGETLB_FREED
        done = True
    elif folio.hpg & HPG_MIGRATABLE:
        if folio_try_get(folio):
            ret = MF_HUGETLB_IN_USED
            count_increased = True
        else:
            ret = MF_HUGETLB_FREED
        done = True
    else:
        ret = MF_HUGETLB_RETRY
        done = flags & MF_NO_RETRY != 0
    if done:
        assert folio is not None
        rc = hugetlb_update_hwpoison(folio, pfn - folio.pfn)
        if rc >= MF_HUGETLB_FOLIO_PRE_POISONED:
            ret = rc
        else:
            if count_increased and folio.hpg & HPG_MIGRATABLE:
                folio.hpg &= ~HPG_MIGRATABLE
                migratable_cleared = True
            spin_unlock_irq(hugetlb_lock)
            return ret, migratable_cleared
    spin_unlock_irq(hugetlb_lock)
    if count_increased:
        assert folio is not None
        folio_put(folio)
    return ret, migratable_cleared


@ported("mm/memory-failure.c", "try_memory_failure_hugetlb")
def try_memory_failure_hugetlb(pfn: int, flags: int) -> tuple[int, bool]:
    """Handle an error in a huge page: 0 or -errno, and whether it was one."""
    res, _ = get_huge_page_for_hwpoison(pfn, flags)
    if res == MF_HUGETLB_RETRY and not flags & MF_NO_RETRY:
        flags |= MF_NO_RETRY
        res, _ = get_huge_page_for_hwpoison(pfn, flags)
    if res == MF_HUGETLB_NON_HUGEPAGE:
        return 0, False
    if res == MF_HUGETLB_RETRY:
        return action_result(MF_IGNORED), True
    if res in (MF_HUGETLB_FOLIO_PRE_POISONED, MF_HUGETLB_PAGE_PRE_POISONED):
        rv = -EHWPOISON
        if flags & MF_ACTION_REQUIRED:
            rv = kill_accessing_process(pfn)
        action_result(MF_FAILED)
        return rv, True
    warn_on(
        res not in (MF_HUGETLB_FREED, MF_HUGETLB_IN_USED),
        "(res != MF_HUGETLB_FREED) && (res != MF_HUGETLB_IN_USED)",
    )
    folio = pfn_folio(pfn)
    assert folio is not None
    folio_lock(folio)
    if res == MF_HUGETLB_FREED:
        folio_unlock(folio)
        res = MF_RECOVERED if _page_handle_poison(pfn) > 0 else MF_FAILED
        return action_result(res), True
    if not hwpoison_user_mappings(folio, flags):
        folio_unlock(folio)
        return action_result(MF_FAILED), True
    return page_action(folio, pfn), True


@ported("mm/memory-failure.c", "memory_failure")
def memory_failure(pfn: int, flags: int) -> int:
    """A base page is bad: 0 or -errno."""
    global hw_memory_failure
    mutex_lock(mf_mutex)
    if not flags & MF_SW_SIMULATED:
        hw_memory_failure = True
    if not pfn_valid(pfn):
        mutex_unlock(mf_mutex)
        return -ENXIO
    res, hugetlb = try_memory_failure_hugetlb(pfn, flags)
    if not hugetlb:
        # Memory that is no huge page is free, or lost already.
        if PageHWPoisonTakenOff(pfn):
            res = -EHWPOISON
            action_result(MF_FAILED)
        else:
            res = action_result(MF_RECOVERED if take_page_off_buddy(pfn) else MF_IGNORED)
    mutex_unlock(mf_mutex)
    return res
