"""Subpools: the minimum and maximum size of a hugetlbfs mount, in huge pages.

Failure point: ``kmalloc_subpool``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import Subpool
from models.kernel.errno import ENOMEM
from models.kernel.locks import (
    FREED,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from models.kernel.machine import bug_on, inject
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.accounting import hugetlb_acct_memory
    from models.hugetlb.structs import HState


@ported("mm/hugetlb.c", "subpool_is_free")
def subpool_is_free(spool: Subpool) -> bool:
    """Whether nothing refers to the subpool and none of its pages is in use."""
    if spool.count:
        return False
    if spool.max_hpages != -1:
        return spool.used_hpages == 0
    if spool.min_hpages != -1:
        return spool.rsv_hpages == spool.min_hpages

    return True


@ported("mm/hugetlb.c", "unlock_or_release_subpool")
def unlock_or_release_subpool(spool: Subpool) -> None:
    """Release the lock; a subpool that is free gives up the reservation of its minimum size."""
    spin_unlock_irqrestore(spool.lock)

    if subpool_is_free(spool):
        if spool.min_hpages != -1:
            hugetlb_acct_memory(spool.hstate, -spool.min_hpages)
        # kfree(spool): a folio that still points to it will find it freed
        spool.lock.owner = FREED


@ported("mm/hugetlb.c", "hugepage_new_subpool")
def hugepage_new_subpool(h: HState, max_hpages: int, min_hpages: int) -> Subpool | None:
    """A subpool of at most and at least so many huge pages (-1: no limit).

    None without memory, or when the minimum cannot be reserved.
    """
    if inject("kmalloc_subpool"):
        return None

    spool = Subpool(h, max_hpages, min_hpages)

    if min_hpages != -1 and hugetlb_acct_memory(h, min_hpages):
        return None
    spool.rsv_hpages = min_hpages

    return spool


@ported("mm/hugetlb.c", "hugepage_put_subpool")
def hugepage_put_subpool(spool: Subpool) -> None:
    """Drop the mount's reference."""
    spin_lock_irqsave(spool.lock)
    bug_on(not spool.count, "!spool->count")
    spool.count -= 1
    unlock_or_release_subpool(spool)


@ported("mm/hugetlb.c", "hugepage_subpool_get_pages")
def hugepage_subpool_get_pages(spool: Subpool | None, delta: int) -> int:
    """Take ``delta`` huge pages of the subpool.

    Returns by how many the global reservation must rise (fewer where the minimum size is reserved
    already), or -ENOMEM above the maximum.
    """
    ret = delta

    if spool is None:
        return ret

    spin_lock_irq(spool.lock)

    if spool.max_hpages != -1:
        if spool.used_hpages + delta <= spool.max_hpages:
            spool.used_hpages += delta
        else:
            ret = -ENOMEM
            spin_unlock_irq(spool.lock)
            return ret

    if spool.min_hpages != -1 and spool.rsv_hpages:
        if delta > spool.rsv_hpages:
            ret = delta - spool.rsv_hpages
            spool.rsv_hpages = 0
        else:
            ret = 0
            spool.rsv_hpages -= delta

    spin_unlock_irq(spool.lock)
    return ret


@ported("mm/hugetlb.c", "hugepage_subpool_put_pages")
def hugepage_subpool_put_pages(spool: Subpool | None, delta: int) -> int:
    """Give ``delta`` huge pages back to the subpool.

    Returns by how many the global reservation must fall (fewer where the minimum size is refilled).
    """
    ret = delta

    if spool is None:
        return delta

    spin_lock_irqsave(spool.lock)

    if spool.max_hpages != -1:
        spool.used_hpages -= delta

    if spool.min_hpages != -1 and spool.used_hpages < spool.min_hpages:
        if spool.rsv_hpages + delta <= spool.min_hpages:
            ret = 0
        else:
            ret = spool.rsv_hpages + delta - spool.min_hpages

        spool.rsv_hpages += delta
        if spool.rsv_hpages > spool.min_hpages:
            spool.rsv_hpages = spool.min_hpages

    # The mount may be gone already, and this have been the last page in use.
    unlock_or_release_subpool(spool)

    return ret
