"""Rewrites of our ports that change nothing: nothing may be reported of them.

``equivcheck run --series tests.quality.rewrites:NAME`` checks the series of one of them. Where a
rewrite touches a condition, its patch declares the predicate, as any patch has to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from equivalence.series import Patch, Series
from equivalence.subject import Predicate
from tests.quality.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Rewrite(Recipe):
    """A rewrite, and the condition that it touches."""

    predicate: Predicate | None = None

    def patch(self) -> Patch:
        """The edit as a patch of one function, with its predicate."""
        # The zero-argument form does not know the class that slots made of this one.
        patch = Recipe.patch(self)
        return patch if self.predicate is None else replace(patch, predicates=(self.predicate,))


#: Different code that does the same.
REWRITES = (
    Rewrite(
        "renamed_local",
        "another name for what the subpool did not keep",
        "hugetlb_unreserve_pages",
        "gbl_reserve = hugepage_subpool_put_pages(spool, chg - freed)\n"
        "    hugetlb_acct_memory(h, -gbl_reserve)",
        "rsv_adjust = hugepage_subpool_put_pages(spool, chg - freed)\n"
        "    hugetlb_acct_memory(h, -rsv_adjust)",
    ),
    Rewrite(
        "early_return",
        "returns the error at once instead of by way of a variable",
        "hugepage_subpool_get_pages",
        "ret = -ENOMEM\n            spin_unlock_irq(spool.lock)\n            return ret",
        "spin_unlock_irq(spool.lock)\n            return -ENOMEM",
    ),
    Rewrite(
        "swapped_operands",
        "compares the other way around",
        "hugetlb_acct_memory",
        "if delta > allowed_mems_nr(h):",
        "if allowed_mems_nr(h) < delta:",
        Predicate(
            "more than the allowed nodes have",
            ("more",),
            ((0,), (1,)),
            lambda more: bool(more),
            lambda more: bool(more),
            symbols=("hugetlb_acct_memory",),
            site="hugetlb_acct_memory",
            anchor="allowed_mems_nr",
            inputs=("int(delta > allowed_mems_nr(h))",),
        ),
    ),
    Rewrite(
        "hoisted_pure_call",
        "asks once for what does not change",
        "free_huge_folio",
        "hugetlb_cgroup_uncharge_folio(hstate_index(h), pages_per_huge_page(h), folio)\n"
        "    hugetlb_cgroup_uncharge_folio_rsvd(hstate_index(h), pages_per_huge_page(h), folio)",
        "idx, nr_pages = hstate_index(h), pages_per_huge_page(h)\n"
        "    hugetlb_cgroup_uncharge_folio(idx, nr_pages, folio)\n"
        "    hugetlb_cgroup_uncharge_folio_rsvd(idx, nr_pages, folio)",
    ),
    Rewrite(
        "inverted_condition",
        "asks whether nothing is left to give back",
        "hugetlb_vm_op_close",
        "if reserve:\n        gbl_reserve = hugepage_subpool_put_pages(spool, reserve)\n"
        "        hugetlb_acct_memory(h, -gbl_reserve)",
        "gbl_reserve = 0 if reserve == 0 else hugepage_subpool_put_pages(spool, reserve)\n"
        "    hugetlb_acct_memory(h, -gbl_reserve)",
        Predicate(
            "something is left to give back",
            ("left",),
            ((0,), (1,)),
            lambda left: bool(left),
            lambda left: left != 0,
            symbols=("hugetlb_vm_op_close",),
            site="hugetlb_vm_op_close",
            anchor="hugetlb_cgroup_uncharge_counter",
            inputs=("int(reserve != 0)",),
        ),
    ),
    Rewrite(
        "used_helper",
        "computes modulo 2^64 what is missing, with the function that says what is there",
        "gather_surplus_pages",
        "needed = as_long(h.resv_huge_pages + delta - h.free_huge_pages)\n",
        "needed = as_long(delta - available_huge_pages(h))\n",
    ),
    Rewrite(
        "dropped_argument",
        "a child has no reservations in a private mapping that it could avoid",
        "copy_hugetlb_page_range",
        "alloc_hugetlb_folio(dst_vma, addr, 1)",
        "alloc_hugetlb_folio(dst_vma, addr, 0)",
    ),
)

#: Other text for the same code.
IDENTICAL = Rewrite(
    "dropped_else",
    "returns without an else",
    "vma_has_reserves",
    "            return True\n        else:\n            return False",
    "            return True\n        return False",
)

_BY_NAME = {one.name: one for one in (*REWRITES, IDENTICAL)}


def __getattr__(name: str) -> Series:
    """The series of the rewrite of that name."""
    found = _BY_NAME.get(name)
    if found is None:
        msg = f"no rewrite is called {name!r}"
        raise AttributeError(msg)
    return found.series()
