"""What of HugeTLB is mutated, and which mutants are known to behave like the original."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import FunctionType
from typing import Any, Final

import models.hugetlb.accounting
import models.hugetlb.folio_list
import models.hugetlb.pool
import models.hugetlb.region
import models.hugetlb.reserve
import models.hugetlb.subpool
import models.hugetlb.surplus
import models.hugetlb.vma_resv
from equivalence.backends.native.tree import HOSTED

#: The reservation core: reservation maps, what vmas make of them, subpools, the global count, the
#: free lists, surplus pages, the size of the pool.
CORE_MODULES: Final = (
    models.hugetlb.region,
    models.hugetlb.vma_resv,
    models.hugetlb.subpool,
    models.hugetlb.accounting,
    models.hugetlb.reserve,
    models.hugetlb.folio_list,
    models.hugetlb.surplus,
    models.hugetlb.pool,
)
#: What these modules have besides: the lock of a vma, what struct pages and the page allocator
#: need, and paths that only the vmemmap optimisation takes, which is off.
BESIDE: Final = frozenset(
    {
        "_hugetlb_vma_unlock_write_free",
        "_hugetlb_vma_unlock_write_put",
        "_update_and_free_hugetlb_folio",
        "_vma_private_lock",
        "_vma_shareable_lock",
        "add_hugetlb_folio",
        "alloc_buddy_hugetlb_folio",
        "alloc_gigantic_folio",
        "arch_clear_hugetlb_flags",
        "bulk_vmemmap_restore_error",
        "flush_free_hpage_work",
        "free_hpage_workfn",
        "hugetlb_free_folio",
        "hugetlb_vma_assert_locked",
        "hugetlb_vma_lock_alloc",
        "hugetlb_vma_lock_free",
        "hugetlb_vma_lock_read",
        "hugetlb_vma_lock_release",
        "hugetlb_vma_lock_write",
        "hugetlb_vma_trylock_write",
        "hugetlb_vma_unlock_read",
        "hugetlb_vma_unlock_write",
        "hugetlb_vmemmap_optimizable",
        "hugetlb_vmemmap_restore_folio",
        "hugetlb_vmemmap_restore_folios",
        "update_and_free_hugetlb_folio",
        "update_and_free_pages_bulk",
        "wait_for_freed_hugetlb_folios",
    }
)
#: What does nothing where it holds; where it does not, the base has a defect, which runs tell.
ASSERTIONS: Final = frozenset({"bug_on", "lockdep_assert_held"})
ASSERTIONS_IN_C: Final = frozenset(
    {
        "BUG_ON",
        "VM_BUG_ON",
        "VM_BUG_ON_FOLIO",
        "VM_BUG_ON_PAGE",
        "VM_BUG_ON_VMA",
        "cond_resched",
        "lockdep_assert_held",
        "might_sleep",
    }
)
EQUIVALENT: Final = "equivalent_mutants.toml"


def core() -> tuple[str, ...]:
    """The functions of the reservation core by symbol name."""
    return tuple(name for name, _ in _core())


def _core() -> Iterator[tuple[str, Any]]:
    """Symbol name and mark of each function of the core."""
    for module in CORE_MODULES:
        for name, value in vars(module).items():
            own = isinstance(value, FunctionType) and value.__module__ == module.__name__
            origin = getattr(value, "__ported__", None)
            if own and origin is not None and name not in BESIDE:
                yield name, origin


def core_in_c() -> tuple[str, ...]:
    """The functions of the reservation core by their names in the C, as far as a hosted file has
    them."""
    return tuple(origin.name for _, origin in _core() if origin.file in HOSTED)


def explained(key: str) -> str | None:
    """Why a mutant cannot be told from the original, from the committed file; None: not known."""
    named, patterns = reasons()
    reason = named.get(key)
    if reason is None:
        reason = next((text for pattern, text in patterns if pattern.fullmatch(key)), None)
    return reason


@cache
def reasons() -> tuple[Mapping[str, str], tuple[tuple[re.Pattern[str], str], ...]]:
    """Mutants named one by one, and patterns of their keys, each with the reason."""
    text = files(__package__).joinpath(EQUIVALENT).read_text(encoding="utf-8")
    named: dict[str, str] = {}
    patterns: list[tuple[re.Pattern[str], str]] = []
    for entry in tomllib.loads(text)["equivalent"]:
        named.update(dict.fromkeys(entry.get("mutants", ()), entry["reason"]))
        patterns += [(re.compile(one), entry["reason"]) for one in entry.get("patterns", ())]
    return named, tuple(patterns)
