"""The conditions that the steps of ``stable-6.12.y`` change without a change of behaviour.

Each is the old and the new expression over one domain, with the inputs that cannot occur and the
reason; and the branches of changed functions that cannot run.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from equivalence.series import DeadBranch
from equivalence.subject import Predicate
from models.schema.trace import Scalar

Row = tuple[Scalar, ...]

_TWO: Final[tuple[Row, ...]] = tuple(product((0, 1), repeat=2))
_THREE: Final[tuple[Row, ...]] = tuple(product((0, 1), repeat=3))
_FOUR: Final[tuple[Row, ...]] = tuple(product((0, 1), repeat=4))


# ---- fault ----


def owners_copy_before(owner: int, anon: int, cached: int) -> bool:
    """The owner's reserve went into every page that is not the file's (hugetlb_wp)."""
    return bool(owner) and not cached


def owners_copy_after(owner: int, anon: int, cached: int) -> bool:
    """It went into anonymous pages."""
    return bool(owner) and bool(anon)


def _owners_copy(row: Row) -> str:
    _, anon, cached = row
    if anon and cached:
        return "an anonymous folio is in no page cache"
    if not anon and not cached:
        return (
            "remove_inode_single_folio() unmaps a folio before it leaves the page cache, with the"
            " fault mutex held"
        )
    return ""


def locks_before(asks: int, writable: int, mayshare: int, anon: int) -> bool:
    """The mapped folio is locked, unless the look-up in the page cache has done so."""
    return not (asks and not writable and not mayshare and not anon)


def locks_after(asks: int, writable: int, mayshare: int, anon: int) -> bool:
    """Only an anonymous folio is locked, and only for hugetlb_wp()."""
    return bool(asks) and not writable and bool(anon)


_ALONE: Final = (
    "an access that the entry allows does not fault, and one task has each address space for itself"
)


def _locks(row: Row) -> str:
    asks, writable, mayshare, anon = row
    if mayshare and anon:
        return "VM_MAYSHARE mappings map pages of the file only"
    if not mayshare and writable and not anon:
        return "a private mapping maps pages of the file without the right to write"
    if asks and writable:
        return _ALONE
    if not asks:
        return _ALONE
    return ""


def unlocked_early_before(write_private: int, anon: int) -> bool:
    """The folio stays locked while it is copied."""
    return False


def unlocked_early_after(write_private: int, anon: int) -> bool:
    """A folio of the file is unlocked before it is copied."""
    return bool(write_private) and not anon


# ---- fork ----


def clears_wp_before(hwpoisoned: int, protected: int, child_watched: int) -> bool:
    """An entry of a page with a memory error loses write protection that the child has not."""
    return bool(hwpoisoned) and bool(protected) and not child_watched


def clears_wp_after(hwpoisoned: int, protected: int, child_watched: int) -> bool:
    """Nothing is cleared."""
    return False


_NO_EVENT_FORK: Final = (
    "dup_userfaultfd() takes the child's mapping out of its context unless that asked for"
    " UFFD_FEATURE_EVENT_FORK, which is not modelled"
)


def _clears_wp(row: Row) -> str:
    hwpoisoned, protected, child_watched = row
    if child_watched:
        return _NO_EVENT_FORK
    if hwpoisoned and protected:
        return "make_hwpoison_entry() makes an entry anew, without write protection"
    return ""


# ---- migrate, split ----


def moves_surplus(same_node: int) -> bool:
    """A temporary page's surplus is handed from node to node."""
    return not same_node


def unshares(inside: int, floor_in: int, ceil_in: int) -> bool:
    """A split inside 1 GiB that the mapping has whole ends the sharing of its table."""
    return bool(inside and floor_in and ceil_in)


def _unshares(row: Row) -> str:
    inside, floor_in, _ = row
    if not inside and not floor_in:
        return "a split is above the mapping's start, and so is the 1 GiB that begins there"
    return ""


def _reasons(domain: tuple[Row, ...], why: object) -> dict[Row, str]:
    assert callable(why)
    return {row: reason for row in domain if (reason := why(row))}


OWNERS_COPY: Final = Predicate(
    "a copy is its owner's",
    ("owner", "anon", "cached"),
    _THREE,
    owners_copy_before,
    owners_copy_after,
    symbols=("hugetlb_wp",),
    site="hugetlb_wp",
    anchor="is_vma_resv_set",
    inputs=(
        "int(bool(is_vma_resv_set(vma, HPAGE_RESV_OWNER)))",
        "int(folio_test_anon(old_folio))",
        "int(old_folio.mapping is vma.vm_file.f_mapping)",
    ),
    unreachable=_reasons(_THREE, _owners_copy),
)

LOCKS: Final = Predicate(
    "the mapped page is locked",
    ("asks", "writable", "mayshare", "anon"),
    _FOUR,
    locks_before,
    locks_after,
    symbols=("hugetlb_fault",),
    site="hugetlb_fault",
    anchor="huge_pte_lock",
    inputs=(
        "int(bool(flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)))",
        "int(huge_pte_write(vmf.orig_pte))",
        "int(bool(vma.vm_flags & VM_MAYSHARE))",
        "int(folio_test_anon(vmf.orig_pte.folio))",
    ),
    unreachable=_reasons(_FOUR, _locks),
)

UNLOCKED_EARLY: Final = Predicate(
    "the page is unlocked before it is copied",
    ("write_private", "anon"),
    _TWO,
    unlocked_early_before,
    unlocked_early_after,
    symbols=("hugetlb_no_page",),
    site="hugetlb_no_page",
    anchor="hugetlb_count_add",
    inputs=(
        "int(bool(vmf.flags & FAULT_FLAG_WRITE and not vma.vm_flags & VM_SHARED))",
        "int(anon_rmap)",
    ),
)

CLEARS_WP: Final = Predicate(
    "write protection is cleared",
    ("hwpoisoned", "protected", "child_watched"),
    _THREE,
    clears_wp_before,
    clears_wp_after,
    symbols=("copy_hugetlb_page_range",),
    site="copy_hugetlb_page_range",
    anchor="is_hugetlb_entry_hwpoisoned",
    inputs=(
        "int(is_hugetlb_entry_hwpoisoned(entry))",
        "int(entry.uffd_wp)",
        "int(userfaultfd_wp(dst_vma))",
    ),
    unreachable=_reasons(_THREE, _clears_wp),
)

MOVES_SURPLUS: Final = Predicate(
    "the surplus moves to another node",
    ("same_node",),
    ((0,), (1,)),
    moves_surplus,
    moves_surplus,
    symbols=("move_hugetlb_state",),
    site="move_hugetlb_state",
    anchor="folio_clear_hugetlb_temporary",
    inputs=("int(new_nid == old_nid)",),
)

UNSHARES: Final = Predicate(
    "a split ends the sharing of a table",
    ("inside", "floor_in", "ceil_in"),
    _THREE,
    unshares,
    unshares,
    symbols=(
        *("hugetlb_vm_op_split", "hugetlb_split", "_split_vma"),
        *("hugetlb_unshare_pmds", "hugetlb_unshare_all_pmds"),
    ),
    site="_split_vma",
    anchor="vm_area_dup",
    inputs=(
        "int(bool(addr & ~PUD_MASK))",
        "int((addr & PUD_MASK) >= vma.vm_start)",
        "int((addr & PUD_MASK) + PUD_SIZE <= vma.vm_end)",
    ),
    unreachable=_reasons(_THREE, _unshares),
)

FORK_DEAD: Final = (
    DeadBranch(
        "copy_hugetlb_page_range",
        "not userfaultfd_wp(dst_vma)",
        "userfaultfd_wp(dst_vma)",
        True,
        _NO_EVENT_FORK,
    ),
)
