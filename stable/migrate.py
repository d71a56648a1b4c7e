"""move_hugetlb_state() in 6.12.117: the same, without an early return (mm/hugetlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.locks import spin_lock_irq, spin_unlock_irq
from models.kernel.port import ported

if TYPE_CHECKING:
    from models.hugetlb.cgroup import hugetlb_cgroup_migrate
    from models.hugetlb.hstate import hugetlb_lock
    from models.hugetlb.inline import folio_hstate
    from models.kernel.page import (
        folio_clear_hugetlb_temporary,
        folio_nid,
        folio_set_hugetlb_temporary,
        folio_test_hugetlb_temporary,
    )
    from models.kernel.structs import Folio


@ported("mm/hugetlb.c", "move_hugetlb_state")
def move_hugetlb_state(old_folio: Folio, new_folio: Folio, reason: int) -> None:
    """Move charges to the new folio; if it was temporary, the old one is from now on.

    The surplus that the pages' nodes count moves along, so that it sums up to the global one.
    """
    h = folio_hstate(old_folio)

    hugetlb_cgroup_migrate(old_folio, new_folio)

    if folio_test_hugetlb_temporary(new_folio):
        old_nid = folio_nid(old_folio)
        new_nid = folio_nid(new_folio)

        folio_set_hugetlb_temporary(old_folio)
        folio_clear_hugetlb_temporary(new_folio)

        if new_nid != old_nid:
            spin_lock_irq(hugetlb_lock)
            if h.surplus_huge_pages_node[old_nid]:
                h.surplus_huge_pages_node[old_nid] -= 1
                h.surplus_huge_pages_node[new_nid] = (
                    h.surplus_huge_pages_node[new_nid] + 1
                ) & 0xFFFFFFFF
            spin_unlock_irq(hugetlb_lock)
