"""Races planted in our ports: they show only when operations run together.

``equivcheck run --series tests.quality.races:NAME --tasks 2`` checks the series of one of them.
"""

from __future__ import annotations

import legacy.hugetlb
import models.hugetlb.accounting
import models.hugetlb.inode
from equivalence.edit import edit
from equivalence.series import Patch, Series
from equivalence.subjects.hugetlb.series import base


def _no_lock() -> Patch:
    """A file is mapped, and its size set, without the inode's lock."""
    mmap = edit(models.hugetlb.inode.hugetlbfs_file_mmap, "    inode_lock(inode)\n", "")
    return Patch(
        "no lock",
        "Map without the lock",
        replace={"hugetlbfs_file_mmap": edit(mmap, "    inode_unlock(inode)\n", "")},
    )


def _kept_value() -> Patch:
    """The reserved count is read before the lock is taken, and written back changed under it."""
    acct = edit(
        models.hugetlb.accounting.hugetlb_acct_memory,
        "    spin_lock_irq(hugetlb_lock)\n",
        "    known = h.resv_huge_pages\n"
        "    spin_lock_irq(hugetlb_lock)\n"
        "    h.resv_huge_pages = known\n",
    )
    return Patch("kept value", "Read before the lock", replace={"hugetlb_acct_memory": acct})


def _moved_check() -> Patch:
    """Whether a page is free to be taken is asked before the lock is taken, and not again."""
    alloc = edit(
        legacy.hugetlb.alloc_hugetlb_folio,
        "        spin_lock_irq(hugetlb_lock)\n"
        "        folio = dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, gbl_chg)\n",
        "        free = available_huge_pages(h)\n"
        "        spin_lock_irq(hugetlb_lock)\n"
        "        folio = None\n"
        "        if vma_has_reserves(vma, gbl_chg) or free:\n"
        "            folio = dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, gbl_chg)\n",
    )
    dequeue = edit(
        legacy.hugetlb.dequeue_hugetlb_folio_vma,
        "    if not vma_has_reserves(vma, chg) and not available_huge_pages(h):\n"
        "        return None\n",
        "",
    )
    return Patch(
        "moved check",
        "Ask before the lock",
        replace={"alloc_hugetlb_folio": alloc, "dequeue_hugetlb_folio_vma": dequeue},
    )


def _series(patch: Patch) -> Series:
    return Series("race", "A race", base(), (patch,))


no_lock = _series(_no_lock())
kept_value = _series(_kept_value())
moved_check = _series(_moved_check())
