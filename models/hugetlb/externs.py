"""Declarations of the functions of mm/hugetlb.c that built-in series change.

Each step of a series defines them; whoever calls them is ported once and type-checked against
these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.port import extern, ported

if TYPE_CHECKING:
    from models.kernel.structs import Folio, VmArea


@extern
@ported("mm/hugetlb.c", "alloc_hugetlb_folio")
def alloc_hugetlb_folio(vma: VmArea, addr: int, avoid_reserve: int) -> Folio | int:
    """A huge page for an address (bytes) with one reference, or -ENOMEM or -ENOSPC.

    It has been charged to memory cgroup and hugetlb cgroups, to the subpool and to the reservation
    map. With ``avoid_reserve`` it does not use a reservation of the vma.
    """
    raise NotImplementedError


@extern
@ported("mm/hugetlb.c", "vma_has_reserves")
def vma_has_reserves(vma: VmArea, chg: int) -> bool:
    """Whether an allocation for the vma takes a reserved page; ``chg`` (0 or 1 huge pages) is what
    it adds to the global reservations."""
    raise NotImplementedError
