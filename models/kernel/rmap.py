# Fidelity: CUSTOM
"""From a folio to the vmas that map it: anon_vmas, file mappings, counts (mm/rmap.c).

An anon_vma's root is not modelled, as only its lock would be used. Neighbouring vmas never share an
anon_vma that was made later (find_mergeable_anon_vma): a walk checks the page tables, so this only
shortens the list of candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.errno import EBUSY, ENOMEM
from models.kernel.locks import down_read, down_write, up_read, up_write
from models.kernel.machine import bug_on, inject, warn_on_once
from models.kernel.port import ported
from models.kernel.structs import PAGE_SHIFT, AnonVma

if TYPE_CHECKING:
    from models.hugetlb.inline import linear_page_index
    from models.kernel.page import (
        ClearPageAnonExclusive,
        PageAnonExclusive,
        SetPageAnonExclusive,
        folio_clear_hugetlb_restore_reserve,
        folio_maybe_dma_pinned,
        folio_test_anon,
        folio_test_hugetlb,
    )
    from models.kernel.structs import AddressSpace, Folio, VmArea

RMAP_NONE: Final = 0
RMAP_EXCLUSIVE: Final = 1


# ---- the vmas of a file, ordered by where they start in it ----


@ported("include/linux/fs.h", "i_mmap_lock_write")
def i_mmap_lock_write(mapping: AddressSpace) -> None:
    """Lock the list of the file's vmas for change."""
    down_write(mapping.i_mmap_rwsem)


@ported("include/linux/fs.h", "i_mmap_unlock_write")
def i_mmap_unlock_write(mapping: AddressSpace) -> None:
    """Undo i_mmap_lock_write."""
    up_write(mapping.i_mmap_rwsem)


@ported("include/linux/fs.h", "i_mmap_lock_read")
def i_mmap_lock_read(mapping: AddressSpace) -> None:
    """Lock the list of the file's vmas for reading."""
    down_read(mapping.i_mmap_rwsem)


@ported("include/linux/fs.h", "i_mmap_unlock_read")
def i_mmap_unlock_read(mapping: AddressSpace) -> None:
    """Undo i_mmap_lock_read."""
    up_read(mapping.i_mmap_rwsem)


@ported("include/linux/fs.h", "i_mmap_assert_write_locked")
def i_mmap_assert_write_locked(mapping: AddressSpace) -> None:
    """BUG unless the list of the file's vmas is locked for change."""
    bug_on(mapping.i_mmap_rwsem.writer is None, "i_mmap_assert_write_locked")


@ported("mm/interval_tree.c", "vma_interval_tree_insert")
def vma_interval_tree_insert(node: VmArea, root: AddressSpace) -> None:
    """Insert behind all vmas that start at the same offset or before, as the tree is walked."""
    i_mmap = root.i_mmap
    start = node.vm_pgoff
    at = len(i_mmap)
    while at and i_mmap[at - 1].vm_pgoff > start:
        at -= 1
    i_mmap.insert(at, node)


@ported("mm/interval_tree.c", "vma_interval_tree_insert_after")
def vma_interval_tree_insert_after(node: VmArea, prev: VmArea, root: AddressSpace) -> None:
    """Insert right behind ``prev``, which starts at the same offset."""
    bug_on(node.vm_pgoff != prev.vm_pgoff, "vma_interval_tree_insert_after: other start")
    root.i_mmap.insert(root.i_mmap.index(prev) + 1, node)


@ported("mm/interval_tree.c", "vma_interval_tree_remove")
def vma_interval_tree_remove(node: VmArea, root: AddressSpace) -> None:
    """Take a vma off the file's list."""
    root.i_mmap.remove(node)


@ported("include/linux/mm.h", "vma_interval_tree_foreach")
def vma_interval_tree_foreach(root: AddressSpace, start: int, last: int) -> list[VmArea]:
    """The vmas that overlap ``start`` to ``last`` (offsets in base pages, both included)."""
    return [
        vma
        for vma in root.i_mmap
        if vma.vm_pgoff <= last
        and start <= vma.vm_pgoff + ((vma.vm_end - vma.vm_start) >> PAGE_SHIFT) - 1
    ]


# ---- anonymous memory ----


def _anon_vma_chain_link(vma: VmArea, anon_vma: AnonVma) -> None:
    vma.anon_vma_chain.insert(0, anon_vma)
    anon_vma.vmas.append(vma)


@ported("include/linux/rmap.h", "anon_vma_prepare")
def anon_vma_prepare(vma: VmArea) -> int:
    """Give the vma an anon_vma unless it has one: 0 or -ENOMEM."""
    if vma.anon_vma is not None:
        return 0
    if inject("kmalloc_anon_vma"):
        return -ENOMEM
    anon_vma = AnonVma()
    vma.anon_vma = anon_vma
    _anon_vma_chain_link(vma, anon_vma)
    return 0


@ported("mm/rmap.c", "anon_vma_clone")
def anon_vma_clone(dst: VmArea, src: VmArea) -> int:
    """List ``dst`` in every anon_vma that lists ``src``: 0 or -ENOMEM."""
    for anon_vma in reversed(src.anon_vma_chain):
        if inject("kmalloc_anon_vma"):
            dst.anon_vma = None
            unlink_anon_vmas(dst)
            return -ENOMEM
        _anon_vma_chain_link(dst, anon_vma)
    return 0


@ported("mm/rmap.c", "anon_vma_fork")
def anon_vma_fork(vma: VmArea, pvma: VmArea) -> int:
    """Give a child's vma an anon_vma of its own besides its parent's: 0 or -ENOMEM.

    The kernel may use an old anon_vma without vmas again instead, which saves memory only.
    """
    if pvma.anon_vma is None:
        return 0
    vma.anon_vma = None
    error = anon_vma_clone(vma, pvma)
    if error:
        return error
    if inject("kmalloc_anon_vma"):
        unlink_anon_vmas(vma)
        return -ENOMEM
    anon_vma = AnonVma()
    vma.anon_vma = anon_vma
    _anon_vma_chain_link(vma, anon_vma)
    return 0


@ported("mm/rmap.c", "unlink_anon_vmas")
def unlink_anon_vmas(vma: VmArea) -> None:
    """Take the vma off all anon_vmas."""
    for anon_vma in vma.anon_vma_chain:
        anon_vma.vmas.remove(vma)
    vma.anon_vma_chain = []
    vma.anon_vma = None


@ported("mm/rmap.c", "__folio_set_anon")
def _folio_set_anon(folio: Folio, vma: VmArea, address: int, exclusive: bool) -> None:
    """Make the folio one of the vma's anonymous folios; ``address`` in bytes."""
    anon_vma = vma.anon_vma
    bug_on(anon_vma is None, "__folio_set_anon: !anon_vma")
    folio.mapping = anon_vma
    folio.index = linear_page_index(vma, address)


@ported("mm/rmap.c", "folio_move_anon_rmap")
def folio_move_anon_rmap(folio: Folio, vma: VmArea) -> None:
    """Make an anonymous folio that only this vma maps one of its own."""
    bug_on(not folio.locked, "folio_move_anon_rmap: !folio_test_locked(folio)")
    bug_on(vma.anon_vma is None, "folio_move_anon_rmap: !anon_vma")
    folio.mapping = vma.anon_vma


# ---- counts of huge mappings ----


@ported("mm/rmap.c", "hugetlb_add_anon_rmap")
def hugetlb_add_anon_rmap(folio: Folio, vma: VmArea, address: int, flags: int) -> None:
    """Count one more mapping of a folio that is anonymous already."""
    warn_on_once(not folio_test_hugetlb(folio), "hugetlb_add_anon_rmap: !folio_test_hugetlb")
    warn_on_once(not folio_test_anon(folio), "hugetlb_add_anon_rmap: !folio_test_anon")
    folio.mapcount += 1
    if flags & RMAP_EXCLUSIVE:
        SetPageAnonExclusive(folio)
    warn_on_once(
        folio.mapcount > 1 and folio.anon_exclusive,
        "hugetlb_add_anon_rmap: folio_entire_mapcount(folio) > 1 && PageAnonExclusive",
    )


@ported("mm/rmap.c", "hugetlb_add_new_anon_rmap")
def hugetlb_add_new_anon_rmap(folio: Folio, vma: VmArea, address: int) -> None:
    """First mapping of a new anonymous folio, at ``address`` (bytes)."""
    warn_on_once(not folio_test_hugetlb(folio), "hugetlb_add_new_anon_rmap: !folio_test_hugetlb")
    bug_on(
        address < vma.vm_start or address >= vma.vm_end,
        "hugetlb_add_new_anon_rmap: address < vma->vm_start || address >= vma->vm_end",
    )
    folio.mapcount = 1
    folio_clear_hugetlb_restore_reserve(folio)
    _folio_set_anon(folio, vma, address, True)
    SetPageAnonExclusive(folio)


@ported("include/linux/rmap.h", "hugetlb_try_dup_anon_rmap")
def hugetlb_try_dup_anon_rmap(folio: Folio, vma: VmArea) -> int:
    """Count one more mapping for a child: 0, or -EBUSY for a pinned folio of the parent's own."""
    warn_on_once(not folio_test_hugetlb(folio), "hugetlb_try_dup_anon_rmap: !folio_test_hugetlb")
    warn_on_once(not folio_test_anon(folio), "hugetlb_try_dup_anon_rmap: !folio_test_anon")
    if PageAnonExclusive(folio):
        if folio_needs_cow_for_dma(vma, folio):
            return -EBUSY
        ClearPageAnonExclusive(folio)
    folio.mapcount += 1
    return 0


@ported("include/linux/rmap.h", "hugetlb_try_share_anon_rmap")
def hugetlb_try_share_anon_rmap(folio: Folio) -> int:
    """Say that the folio may be shared: 0, or -EBUSY while it is pinned."""
    warn_on_once(not folio_test_hugetlb(folio), "hugetlb_try_share_anon_rmap: !folio_test_hugetlb")
    warn_on_once(not folio_test_anon(folio), "hugetlb_try_share_anon_rmap: !folio_test_anon")
    warn_on_once(not PageAnonExclusive(folio), "hugetlb_try_share_anon_rmap: !PageAnonExclusive")
    if folio_maybe_dma_pinned(folio):
        return -EBUSY
    ClearPageAnonExclusive(folio)
    return 0


@ported("include/linux/rmap.h", "hugetlb_add_file_rmap")
def hugetlb_add_file_rmap(folio: Folio) -> None:
    """Count one more mapping of a file's folio."""
    warn_on_once(not folio_test_hugetlb(folio), "hugetlb_add_file_rmap: !folio_test_hugetlb")
    warn_on_once(folio_test_anon(folio), "hugetlb_add_file_rmap: folio_test_anon")
    folio.mapcount += 1


@ported("include/linux/rmap.h", "hugetlb_remove_rmap")
def hugetlb_remove_rmap(folio: Folio) -> None:
    """Count one mapping less."""
    warn_on_once(not folio_test_hugetlb(folio), "hugetlb_remove_rmap: !folio_test_hugetlb")
    folio.mapcount -= 1


@ported("include/linux/mm.h", "folio_needs_cow_for_dma")
def folio_needs_cow_for_dma(vma: VmArea, folio: Folio) -> bool:
    """Whether fork must copy the folio now because it is pinned."""
    mm = vma.vm_mm
    if mm is None or not mm.pinned:
        return False
    return folio_maybe_dma_pinned(folio)
