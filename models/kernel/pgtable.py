# Fidelity: CUSTOM
"""Huge page-table entries and the gathering of pages that a zap unmapped.

A table is not modelled as such: an address without a slot stands both for an absent table and for
an entry that is none. Entries are values (:class:`Pte`); a slot is where one lives. The lock of a
slot is that of its table: one for each 1 GiB of address space for 2M entries, the address space's
own lock for 1G entries. Sharing of tables between processes is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.locks import Lock, spin_lock
from models.kernel.machine import bug_on, inject
from models.kernel.port import ported
from models.kernel.structs import PTE_NONE, Folio, Pte, PteSlot

if TYPE_CHECKING:
    from models.hugetlb.structs import HState
    from models.kernel.page import folio_put
    from models.kernel.structs import MM, VmArea

PUD_SHIFT: Final = 30
PUD_SIZE: Final = 1 << PUD_SHIFT
PUD_MASK: Final = ~(PUD_SIZE - 1)

#: Values of ``Pte.special``. A migration entry keeps its folio and, in ``write``, whether the
#: entry that it replaces was writable; "migration_exclusive" is the readable exclusive one.
MIGRATION: Final = "migration"
MIGRATION_EXCLUSIVE: Final = "migration_exclusive"
HWPOISON: Final = "hwpoison"
MARKER_POISONED: Final = "poisoned"
MARKER_UFFD_WP: Final = "uffd_wp"

PTE_MARKER_UFFD_WP: Final = Pte(special=MARKER_UFFD_WP)
PTE_MARKER_POISONED: Final = Pte(special=MARKER_POISONED)

ZAP_FLAG_DROP_MARKER: Final = 1
ZAP_FLAG_UNMAP: Final = 2


# ---- slots ----


@ported("mm/hugetlb.c", "huge_pte_alloc")
def huge_pte_alloc(mm: MM, vma: VmArea, addr: int, sz: int) -> PteSlot | None:
    """The slot of ``addr`` (bytes, aligned to ``sz``), made if need be; None without memory."""
    slot = mm.page_table.get(addr)
    if slot is None:
        if inject("page_table"):
            return None
        if sz >= PUD_SIZE:
            ptl = mm.page_table_lock
        else:
            table = addr >> PUD_SHIFT
            known = mm.pmd_locks.get(table)
            if known is None:
                known = mm.pmd_locks[table] = Lock("ptl")
            ptl = known
        slot = mm.page_table[addr] = PteSlot(ptl)
    return slot


@ported("mm/hugetlb.c", "huge_pte_offset")
def huge_pte_offset(mm: MM, addr: int, sz: int) -> PteSlot | None:
    """The slot of ``addr`` (bytes, aligned to ``sz``), or None."""
    return mm.page_table.get(addr)


@ported("include/linux/hugetlb.h", "hugetlb_walk")
def hugetlb_walk(vma: VmArea, addr: int, sz: int) -> PteSlot | None:
    """The slot of ``addr`` (bytes, aligned to ``sz``) in the vma's address space, or None."""
    mm = vma.vm_mm
    return None if mm is None else mm.page_table.get(addr)


@ported("include/linux/hugetlb.h", "huge_pte_lockptr")
def huge_pte_lockptr(h: HState, mm: MM, pte: PteSlot) -> Lock:
    """The lock of the table that the slot is in."""
    return pte.ptl


@ported("include/linux/hugetlb.h", "huge_pte_lock")
def huge_pte_lock(h: HState, mm: MM, pte: PteSlot) -> Lock:
    """Take the lock of the table that the slot is in; returns it."""
    ptl = pte.ptl
    spin_lock(ptl)
    return ptl


# ---- reading and writing slots ----


@ported("arch/x86/include/asm/hugetlb.h", "huge_ptep_get")
def huge_ptep_get(mm: MM, addr: int, ptep: PteSlot) -> Pte:
    """The entry in the slot."""
    return ptep.pte


@ported("arch/x86/include/asm/hugetlb.h", "set_huge_pte_at")
def set_huge_pte_at(mm: MM, addr: int, ptep: PteSlot, pte: Pte, sz: int) -> None:
    """Put an entry into the slot."""
    ptep.pte = pte


@ported("arch/x86/include/asm/hugetlb.h", "huge_ptep_get_and_clear")
def huge_ptep_get_and_clear(mm: MM, addr: int, ptep: PteSlot, sz: int) -> Pte:
    """Take the entry out of the slot."""
    pte = ptep.pte
    ptep.pte = PTE_NONE
    return pte


@ported("arch/x86/include/asm/hugetlb.h", "huge_ptep_clear_flush")
def huge_ptep_clear_flush(vma: VmArea, addr: int, ptep: PteSlot) -> Pte:
    """Take the entry out of the slot and flush the TLB."""
    pte = ptep.pte
    ptep.pte = PTE_NONE
    return pte


@ported("arch/x86/include/asm/hugetlb.h", "huge_pte_clear")
def huge_pte_clear(mm: MM, addr: int, ptep: PteSlot, sz: int) -> None:
    """Empty the slot."""
    ptep.pte = PTE_NONE


@ported("arch/x86/include/asm/hugetlb.h", "huge_ptep_set_wrprotect")
def huge_ptep_set_wrprotect(mm: MM, addr: int, ptep: PteSlot) -> None:
    """Take the right to write from the entry in the slot."""
    pte = ptep.pte
    if pte.write:
        ptep.pte = pte._replace(write=False)


@ported("arch/x86/include/asm/hugetlb.h", "huge_ptep_set_access_flags")
def huge_ptep_set_access_flags(
    vma: VmArea, addr: int, ptep: PteSlot, entry: Pte, dirty: int
) -> bool:
    """Set an entry that differs in its flags, as x86 does only for writes; whether it differed."""
    changed = ptep.pte != entry
    if changed and dirty:
        ptep.pte = entry
    return changed


# ---- entries ----


@ported("arch/x86/include/asm/pgtable.h", "pte_same")
def pte_same(a: Pte, b: Pte) -> bool:
    """Whether two entries are equal."""
    return a == b


@ported("include/asm-generic/hugetlb.h", "huge_pte_none")
def huge_pte_none(pte: Pte) -> bool:
    """Whether the entry is empty."""
    return pte.folio is None and not pte.special


@ported("include/asm-generic/hugetlb.h", "huge_pte_none_mostly")
def huge_pte_none_mostly(pte: Pte) -> bool:
    """Whether the entry is empty or a marker."""
    return (
        pte.folio is None
        and pte.special != HWPOISON
        and pte.special != MIGRATION
        and pte.special != MIGRATION_EXCLUSIVE
    )


@ported("arch/x86/include/asm/pgtable.h", "pte_present")
def pte_present(pte: Pte) -> bool:
    """Whether the entry maps a page (with or without the right to touch it)."""
    return pte.folio is not None and not pte.special


@ported("include/linux/swapops.h", "is_pte_marker")
def is_pte_marker(pte: Pte) -> bool:
    """Whether the entry is a marker."""
    return pte.special in (MARKER_UFFD_WP, MARKER_POISONED)


@ported("include/linux/swapops.h", "pte_marker_uffd_wp")
def pte_marker_uffd_wp(pte: Pte) -> bool:
    """Whether the entry is a marker of userfaultfd write protection."""
    return pte.special == MARKER_UFFD_WP


@ported("mm/hugetlb.c", "is_hugetlb_entry_migration")
def is_hugetlb_entry_migration(pte: Pte) -> bool:
    """Whether the page is being migrated."""
    return pte.special in (MIGRATION, MIGRATION_EXCLUSIVE)


@ported("mm/hugetlb.c", "is_hugetlb_entry_hwpoisoned")
def is_hugetlb_entry_hwpoisoned(pte: Pte) -> bool:
    """Whether a memory error took the page."""
    return pte.special == HWPOISON


@ported("include/linux/swapops.h", "pte_swp_uffd_wp_any")
def pte_swp_uffd_wp_any(pte: Pte) -> bool:
    """Whether an entry that is not present carries userfaultfd write protection in any form."""
    return pte.special == MARKER_UFFD_WP or (pte.special != "" and pte.uffd_wp)


@ported("arch/x86/include/asm/pgtable.h", "huge_pte_write")
def huge_pte_write(pte: Pte) -> bool:
    """Whether the page may be written."""
    return pte.write


@ported("arch/x86/include/asm/pgtable.h", "huge_pte_dirty")
def huge_pte_dirty(pte: Pte) -> bool:
    """Whether the page was written through this entry."""
    return pte.dirty


@ported("arch/x86/include/asm/pgtable.h", "huge_pte_uffd_wp")
def huge_pte_uffd_wp(pte: Pte) -> bool:
    """Whether userfaultfd write-protects the entry."""
    return pte.uffd_wp


@ported("include/asm-generic/hugetlb.h", "huge_pte_wrprotect")
def huge_pte_wrprotect(pte: Pte) -> Pte:
    """The entry without the right to write."""
    return pte._replace(write=False) if pte.write else pte


@ported("include/asm-generic/hugetlb.h", "huge_pte_mkdirty")
def huge_pte_mkdirty(pte: Pte) -> Pte:
    """The entry, written."""
    return pte if pte.dirty else pte._replace(dirty=True)


@ported("include/asm-generic/hugetlb.h", "huge_pte_mkwrite")
def huge_pte_mkwrite(pte: Pte) -> Pte:
    """The entry with the right to write."""
    return pte if pte.write else pte._replace(write=True)


@ported("arch/x86/include/asm/pgtable.h", "pte_mkyoung")
def pte_mkyoung(pte: Pte) -> Pte:
    """The entry, accessed."""
    return pte if pte.young else pte._replace(young=True)


@ported("include/asm-generic/hugetlb.h", "huge_pte_mkuffd_wp")
def huge_pte_mkuffd_wp(pte: Pte) -> Pte:
    """The entry, write-protected by userfaultfd."""
    return pte._replace(uffd_wp=True, write=False)


@ported("include/asm-generic/hugetlb.h", "huge_pte_clear_uffd_wp")
def huge_pte_clear_uffd_wp(pte: Pte) -> Pte:
    """The entry without userfaultfd write protection."""
    return pte._replace(uffd_wp=False) if pte.uffd_wp else pte


@ported("mm/hugetlb.c", "make_huge_pte")
def make_huge_pte(vma: VmArea, page: Folio, writable: int) -> Pte:
    """An entry that maps the page; a writable one is dirty from the start."""
    if writable:
        return Pte(page, True, True, True)
    return Pte(page, False, False, True)


# ---- the gather of a zap ----


class MmuGather:
    """struct mmu_gather: the pages that a zap unmapped and has not freed yet."""

    __slots__ = ("mm", "pages")

    def __init__(self, mm: MM | None) -> None:
        self.mm = mm
        self.pages: list[Folio] = []


@ported("mm/mmu_gather.c", "tlb_gather_mmu")
def tlb_gather_mmu(mm: MM | None) -> MmuGather:
    """Begin to gather."""
    return MmuGather(mm)


@ported("include/asm-generic/tlb.h", "tlb_remove_page_size")
def tlb_remove_page_size(tlb: MmuGather, page: Folio, page_size: int) -> None:
    """Keep the reference of an unmapped page until the TLB is flushed.

    The kernel flushes early once about ten thousand batches are full, which is out of reach here.
    """
    tlb.pages.append(page)


@ported("mm/mmu_gather.c", "tlb_finish_mmu")
def tlb_finish_mmu(tlb: MmuGather) -> None:
    """Flush, and drop the references of the gathered pages in the order they were gathered."""
    pages = tlb.pages
    tlb.pages = []
    for page in pages:
        folio_put(page)


@ported("mm/hugetlb.c", "set_huge_ptep_writable")
def set_huge_ptep_writable(vma: VmArea, address: int, ptep: PteSlot) -> None:
    """Let the entry be written to."""
    mm: MM = vma.vm_mm  # type: ignore[assignment]
    entry = huge_pte_mkwrite(huge_pte_mkdirty(huge_ptep_get(mm, address, ptep)))
    huge_ptep_set_access_flags(vma, address, ptep, entry, 1)


@ported("mm/memory.c", "hugetlb_free_pgd_range")
def hugetlb_free_pgd_range(tlb: MmuGather, addr: int, end: int) -> None:
    """Forget the slots of ``addr`` to ``end`` (bytes), as freeing their tables does.

    Raises:
        KernelBug: a slot still maps a page.
    """
    mm = tlb.mm
    if mm is None:
        return
    for gone in [at for at in mm.page_table if addr <= at < end]:
        slot = mm.page_table.pop(gone)
        bug_on(slot.pte.folio is not None, "bad pmd: a freed table maps a page")
