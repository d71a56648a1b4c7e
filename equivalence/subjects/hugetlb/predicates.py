"""The conditions that the built-in series changes, old and new, over one domain.

Inputs: whether the vma is VM_NORESERVE, VM_MAYSHARE, owner of its reservations
(HPAGE_RESV_OWNER); whether the caller avoids reserves; whether the page counts as a change of the
global reservations (0: it is covered by one already made, or by the subpool's); whether the pool
has a page that is not reserved. Until patch 3 whoever avoids reserves counts as a change; the last
predicate takes what the subpool answered instead.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from equivalence.series import DeadBranch
from equivalence.subject import Predicate
from models.schema.trace import Scalar

Row = tuple[Scalar, ...]

_SITE: Final = "alloc_hugetlb_folio"
_ANCHOR: Final = "dequeue_hugetlb_folio_vma"
_NAMES: Final = ("noreserve", "mayshare", "owner", "avoid_reserve", "chg")
_INPUTS: Final = (
    "int(bool(vma.vm_flags & VM_NORESERVE))",
    "int(bool(vma.vm_flags & VM_MAYSHARE))",
    "int(bool(is_vma_resv_set(vma, HPAGE_RESV_OWNER)))",
    "int(bool(avoid_reserve))",
)
_CHG: Final = "int(bool(avoid_reserve or gbl_chg))"
_SUBPOOL_SAID: Final = "int(bool(subpool_said))"


def has_reserves(noreserve: int, mayshare: int, owner: int, chg: int) -> bool:
    """What vma_has_reserves() of the base answers (mm/hugetlb.c)."""
    if noreserve:
        return bool(mayshare) and chg == 0
    if mayshare:
        return chg == 0
    return bool(owner) and chg == 0


def debit_before(noreserve: int, mayshare: int, owner: int, avoid_reserve: int, chg: int) -> bool:
    """Base: a page is taken from the reserve if not avoided and the vma has reserves."""
    return not avoid_reserve and has_reserves(noreserve, mayshare, owner, chg)


def debit_after(noreserve: int, mayshare: int, owner: int, avoid_reserve: int, chg: int) -> bool:
    """Patch 2: should_use_hstate_resv(), which looks at avoid_reserve first."""
    if avoid_reserve:
        return False
    return has_reserves(noreserve, mayshare, owner, chg)


def debit_overridden(
    noreserve: int, mayshare: int, owner: int, avoid_reserve: int, chg: int
) -> bool:
    """Until patch 3: avoiding reserves overrides the subpool's answer with 1."""
    return debit_after(noreserve, mayshare, owner, avoid_reserve, 1 if avoid_reserve else chg)


def refuse_before(
    noreserve: int, mayshare: int, owner: int, avoid_reserve: int, chg: int, available: int
) -> bool:
    """Base: two early exits of dequeue_hugetlb_folio_vma()."""
    if not has_reserves(noreserve, mayshare, owner, chg) and not available:
        return True
    return bool(avoid_reserve) and not available


def refuse_after(
    noreserve: int, mayshare: int, owner: int, avoid_reserve: int, chg: int, available: int
) -> bool:
    """Patch 1: one early exit."""
    return not debit_before(noreserve, mayshare, owner, avoid_reserve, chg) and not available


_OWNER_SHARED: Final = (
    "hugetlb_reserve_pages() marks a vma as HPAGE_RESV_OWNER only when it is not VM_MAYSHARE"
)
_OWNER_NORESERVE: Final = (
    "hugetlb_reserve_pages() returns before it marks an owner when the vma is VM_NORESERVE"
)
_OVERRIDDEN: Final = "chg is what dequeue was told until patch 3: 1 whenever reserves are avoided"


def _unreachable(domain: tuple[Row, ...], overridden: bool) -> dict[Row, str]:
    reasons: dict[Row, str] = {}
    for row in domain:
        noreserve, mayshare, owner, avoid, chg = row[:5]
        if owner and mayshare:
            reasons[row] = _OWNER_SHARED
        elif owner and noreserve:
            reasons[row] = _OWNER_NORESERVE
        elif overridden and avoid and not chg:
            reasons[row] = _OVERRIDDEN
    return reasons


_FIVE: Final[tuple[Row, ...]] = tuple(product((0, 1), repeat=5))
_SIX: Final[tuple[Row, ...]] = tuple(product((0, 1), repeat=6))

REFUSE: Final = Predicate(
    "dequeue refuses",
    (*_NAMES, "available"),
    _SIX,
    refuse_before,
    refuse_after,
    symbols=("dequeue_hugetlb_folio_vma",),
    site=_SITE,
    anchor=_ANCHOR,
    inputs=(*_INPUTS, _CHG, "int(bool(available_huge_pages(h)))"),
    unreachable=_unreachable(_SIX, overridden=True),
)

DEBIT: Final = Predicate(
    "takes from the reserve",
    _NAMES,
    _FIVE,
    debit_before,
    debit_after,
    symbols=("dequeue_hugetlb_folio_vma", "alloc_hugetlb_folio"),
    site=_SITE,
    anchor=_ANCHOR,
    inputs=(*_INPUTS, _CHG),
    unreachable=_unreachable(_FIVE, overridden=True),
)

SHOULD_USE: Final = Predicate(
    "should use the reserve",
    _NAMES,
    _FIVE,
    debit_before,
    debit_after,
    symbols=("vma_has_reserves", "should_use_hstate_resv", "alloc_hugetlb_folio"),
    site=_SITE,
    anchor=_ANCHOR,
    inputs=(*_INPUTS, _CHG),
    unreachable=_unreachable(_FIVE, overridden=True),
)

NOT_OVERRIDDEN: Final = Predicate(
    "takes from the reserve, as the subpool said",
    _NAMES,
    _FIVE,
    debit_overridden,
    debit_after,
    symbols=("alloc_hugetlb_folio",),
    site=_SITE,
    anchor=_ANCHOR,
    inputs=(*_INPUTS, _SUBPOOL_SAID),
    keep={"subpool_said": "hugepage_subpool_get_pages"},
    unreachable=_unreachable(_FIVE, overridden=False),
)


def counts_before(avoid_reserve: int, chg: int) -> bool:
    """Until patch 3: whoever avoids reserves changes the global count, whatever the subpool has."""
    return bool(avoid_reserve or chg)


def counts_after(avoid_reserve: int, chg: int) -> bool:
    """Patch 3: only what the subpool does not have."""
    return bool(chg)


#: The one value that the series changes: gbl_chg where reserves are avoided and the subpool has the
#: page. What is decided from it is the same (:data:`NOT_OVERRIDDEN`): avoid_reserve is asked first.
COUNTED: Final = Predicate(
    "gbl_chg is set",
    ("avoid_reserve", "chg"),
    tuple(product((0, 1), repeat=2)),
    counts_before,
    counts_after,
    symbols=("alloc_hugetlb_folio",),
    site=_SITE,
    anchor=_ANCHOR,
    inputs=("int(bool(avoid_reserve))", _SUBPOOL_SAID),
    keep={"subpool_said": "hugepage_subpool_get_pages"},
)

#: Outcomes of changed conditions that cannot happen.
DEAD: Final = (
    DeadBranch(
        "dequeue_hugetlb_folio_vma",
        "avoid_reserve and (not available_huge_pages(h))",
        "available_huge_pages(h)",
        False,
        "whoever avoids reserves passes chg 1 (alloc_hugetlb_folio sets gbl_chg), for which"
        " vma_has_reserves() is false for every vma, so without an available page the condition"
        " before this one has returned already",
    ),
)
