"""Filling huge pages on behalf of userfaultfd: COPY, CONTINUE and POISON (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.hugetlb.structs import HState, huge_page_shift, huge_page_size, pages_per_huge_page
from models.kernel.errno import EEXIST, EFAULT, EIO, ENOENT, ENOMEM, IS_ERR
from models.kernel.machine import warn_on_once
from models.kernel.pgtable import PTE_MARKER_POISONED
from models.kernel.port import ported
from models.kernel.structs import VM_SHARED, VM_WRITE, Folio

if TYPE_CHECKING:
    from models.hugetlb.externs import alloc_hugetlb_folio
    from models.hugetlb.fault import hugetlb_add_to_page_cache
    from models.hugetlb.hstate import htlb_alloc_mask
    from models.hugetlb.inline import (
        hstate_vma,
        hugetlb_count_add,
        hugetlbfs_pagecache_present,
        vma_hugecache_offset,
    )
    from models.hugetlb.surplus import alloc_hugetlb_folio_nodemask
    from models.hugetlb.vma_resv import restore_reserve_on_error
    from models.kernel.filemap import filemap_lock_hugetlb_folio
    from models.kernel.locks import spin_unlock
    from models.kernel.mempolicy import huge_node, mpol_cond_put
    from models.kernel.page import (
        _folio_mark_uptodate,
        copy_folio_from_user,
        copy_user_large_folio,
        folio_put,
        folio_set_hugetlb_migratable,
        folio_test_hwpoison,
        folio_test_uptodate,
        folio_unlock,
    )
    from models.kernel.pgtable import (
        huge_pte_lock,
        huge_pte_mkdirty,
        huge_pte_mkuffd_wp,
        huge_pte_none,
        huge_pte_none_mostly,
        huge_ptep_get,
        make_huge_pte,
        pte_mkyoung,
        set_huge_pte_at,
    )
    from models.kernel.rmap import hugetlb_add_file_rmap, hugetlb_add_new_anon_rmap
    from models.kernel.structs import PteSlot, VmArea

#: uffd_flags_t: a mode, and the wish that what is filled be write-protected.
MFILL_ATOMIC_COPY: Final = 0
MFILL_ATOMIC_ZEROPAGE: Final = 1
MFILL_ATOMIC_CONTINUE: Final = 2
MFILL_ATOMIC_POISON: Final = 3
MFILL_ATOMIC_MODE_MASK: Final = 3
MFILL_ATOMIC_WP: Final = 4


@ported("include/linux/userfaultfd_k.h", "uffd_flags_mode_is")
def uffd_flags_mode_is(flags: int, expected: int) -> bool:
    """Whether the flags name this mode."""
    return flags & MFILL_ATOMIC_MODE_MASK == expected


@ported("mm/hugetlb.c", "alloc_hugetlb_folio_vma")
def alloc_hugetlb_folio_vma(h: HState, vma: VmArea, address: int) -> Folio | None:
    """A folio to keep a copy in for a moment: no reservation and no subpool knows of it."""
    gfp_mask = htlb_alloc_mask(h)
    node, mpol, nodemask = huge_node(vma, address, gfp_mask)
    # Only from the node's own pool: nothing may be broken out of it for a passing use.
    folio = alloc_hugetlb_folio_nodemask(h, node, nodemask, gfp_mask, False)
    mpol_cond_put(mpol)
    return folio


@ported("mm/hugetlb.c", "hugetlb_mfill_atomic_pte")
def hugetlb_mfill_atomic_pte(
    dst_pte: PteSlot,
    dst_vma: VmArea,
    dst_addr: int,
    src_addr: int,
    flags: int,
    foliop: list[Folio | None],
) -> int:
    """Fill the page at ``dst_addr`` (bytes): 0 or -errno.

    ``foliop`` is one element, as the C's pointer: a folio that the caller has filled, because the
    source could not be read with locks held. -ENOENT asks for that, with the folio to fill.
    """
    dst_mm = dst_vma.vm_mm
    assert dst_mm is not None
    assert dst_vma.vm_file is not None
    is_continue = uffd_flags_mode_is(flags, MFILL_ATOMIC_CONTINUE)
    wp_enabled = flags & MFILL_ATOMIC_WP != 0
    h = hstate_vma(dst_vma)
    mapping = dst_vma.vm_file.f_mapping
    idx = vma_hugecache_offset(h, dst_vma, dst_addr)
    size = huge_page_size(h)
    vm_shared = dst_vma.vm_flags & VM_SHARED != 0
    folio_in_pagecache = False

    if uffd_flags_mode_is(flags, MFILL_ATOMIC_POISON):
        ptl = huge_pte_lock(h, dst_mm, dst_pte)
        # Nothing that is there may be overwritten, not even a marker.
        if not huge_pte_none(huge_ptep_get(dst_mm, dst_addr, dst_pte)):
            spin_unlock(ptl)
            return -EEXIST
        set_huge_pte_at(dst_mm, dst_addr, dst_pte, PTE_MARKER_POISONED, size)
        spin_unlock(ptl)
        return 0

    given = foliop[0]
    if is_continue:
        found = filemap_lock_hugetlb_folio(h, mapping, idx)
        if IS_ERR(found):
            return -EFAULT
        folio = found
        folio_in_pagecache = True
    elif given is None:
        # The file has the page already: COPY is for missing ones.
        if vm_shared and hugetlbfs_pagecache_present(h, dst_vma, dst_addr):
            return -EEXIST

        new = alloc_hugetlb_folio(dst_vma, dst_addr, 0)
        if IS_ERR(new):
            return -ENOMEM
        folio = new

        if copy_folio_from_user(folio, src_addr, False):
            # Give back what may have consumed a reservation, and let the caller copy.
            restore_reserve_on_error(h, dst_vma, dst_addr, folio)
            folio_put(folio)

            temporary = alloc_hugetlb_folio_vma(h, dst_vma, dst_addr)
            if temporary is None:
                return -ENOMEM
            foliop[0] = temporary
            return -ENOENT
    else:
        if vm_shared and hugetlbfs_pagecache_present(h, dst_vma, dst_addr):
            folio_put(given)
            foliop[0] = None
            return -EEXIST

        new = alloc_hugetlb_folio(dst_vma, dst_addr, 0)
        if IS_ERR(new):
            folio_put(given)
            foliop[0] = None
            return -ENOMEM
        folio = new
        ret = copy_user_large_folio(folio, given, dst_addr, dst_vma)
        folio_put(given)
        foliop[0] = None
        if ret:
            folio_put(folio)
            return ret

    if not is_continue:
        _folio_mark_uptodate(folio)
    else:
        warn_on_once(
            not folio_test_uptodate(folio),
            "hugetlb_mfill_atomic_pte: !folio_test_uptodate(folio)",
        )

    if vm_shared and not is_continue:
        assert mapping.host is not None
        ret = -EFAULT
        if idx < mapping.host.i_size >> huge_page_shift(h):
            ret = hugetlb_add_to_page_cache(folio, mapping, idx)
        if ret:
            if not folio_in_pagecache:
                restore_reserve_on_error(h, dst_vma, dst_addr, folio)
            folio_put(folio)
            return ret
        folio_in_pagecache = True

    ptl = huge_pte_lock(h, dst_mm, dst_pte)

    ret = 0
    if folio_test_hwpoison(folio):
        ret = -EIO
    elif not huge_pte_none_mostly(huge_ptep_get(dst_mm, dst_addr, dst_pte)):
        # Markers may be overwritten: a page may be protected before it is there.
        ret = -EEXIST
    if ret:
        spin_unlock(ptl)
        if vm_shared or is_continue:
            folio_unlock(folio)
        if not folio_in_pagecache:
            restore_reserve_on_error(h, dst_vma, dst_addr, folio)
        folio_put(folio)
        return ret

    if folio_in_pagecache:
        hugetlb_add_file_rmap(folio)
    else:
        hugetlb_add_new_anon_rmap(folio, dst_vma, dst_addr)

    if wp_enabled or (is_continue and not vm_shared):
        writable = 0
    else:
        writable = dst_vma.vm_flags & VM_WRITE

    entry = make_huge_pte(dst_vma, folio, writable)
    # Always dirty, as a page that must not be thrown away.
    entry = pte_mkyoung(huge_pte_mkdirty(entry))
    if wp_enabled:
        entry = huge_pte_mkuffd_wp(entry)
    set_huge_pte_at(dst_mm, dst_addr, dst_pte, entry, size)
    hugetlb_count_add(pages_per_huge_page(h), dst_mm)

    spin_unlock(ptl)
    if not is_continue:
        folio_set_hugetlb_migratable(folio)
    if vm_shared or is_continue:
        folio_unlock(folio)
    return 0
