"""The built-in series with a mistake in one of its patches, as somebody might have sent it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any

from equivalence.edit import edit
from equivalence.series import Series
from equivalence.subjects.hugetlb.series import on_base, vma_dependence

Mend = Callable[[FunctionType], FunctionType]


def _series(name: str, title: str, mends: Mapping[int, Mapping[str, Mend]]) -> Series:
    """The built-in series with other bodies in the patches (from 1) that are given."""
    patches = []
    for number, patch in enumerate(vma_dependence().patches, start=1):
        bodies: dict[str, Any] = dict(patch.replace)
        for function, mend in mends.get(number, {}).items():
            bodies[function] = mend(bodies[function])
        patches.append(replace(patch, replace=bodies))
    return on_base(name, title, *patches)


def _told(old: str, new: str) -> Mend:
    return lambda function: edit(function, old, new, "broken")


#: Decides by the reservation map, before the subpool was asked: the early exit moved too far up.
#: The mistake stays in the patches after it.
PATCH1 = _series(
    "broken-patch-1",
    "Reduce dependence on vmas, deciding before the subpool is asked",
    {
        1: {
            "alloc_hugetlb_folio": _told("has_reserves(vma, gbl_chg)", "has_reserves(vma, map_chg)")
        },
        2: {
            "alloc_hugetlb_folio": _told(
                "hstate_resv(vma, gbl_chg, avoid", "hstate_resv(vma, map_chg, avoid"
            )
        },
        3: {
            "alloc_hugetlb_folio": _told(
                "hstate_resv(vma, gbl_chg, avoid", "hstate_resv(vma, map_chg, avoid"
            )
        },
    },
)

#: Removes both checks of avoid_reserve, where only one of them is unnecessary.
PATCH3 = _series(
    "broken-patch-3",
    "Reduce dependence on vmas, removing one check too many",
    {
        3: {
            "alloc_hugetlb_folio": _told(
                "hstate_resv(vma, gbl_chg, avoid_reserve)", "hstate_resv(vma, gbl_chg, 0)"
            )
        }
    },
)
