"""The built-in series: which modules make the base, and what each patch does to it.

``vma-dependence`` is "[RFC PATCH 0/3] Reduce dependence on vmas deep in hugetlb allocation code"
(11 October 2024), from v6.12-rc3.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, Final

import legacy.hugetlb
import models.hugetlb
import models.kernel
import refactored.hugetlb
from equivalence.series import DeadBranch, Patch, Series, Symbols, collect
from equivalence.subject import Predicate
from equivalence.subjects.hugetlb import digest, observation, statekey
from equivalence.subjects.hugetlb.predicates import (
    COUNTED,
    DEAD,
    DEBIT,
    NOT_OVERRIDDEN,
    REFUSE,
    SHOULD_USE,
)
from equivalence.subjects.hugetlb.stable_predicates import (
    CLEARS_WP,
    FORK_DEAD,
    LOCKS,
    MOVES_SURPLUS,
    OWNERS_COPY,
    UNLOCKED_EARLY,
    UNSHARES,
)
from models.kernel.machine import (
    FUEL,
    KernelBug,
    KernelCrash,
    KernelDeadlock,
    KernelHang,
    Unmodelled,
)
from models.schema.outcome import Ending
from refactored.steps import after_patch1, after_patch2
from stable import (
    alloc_cgroup,
    cow_from_owner,
    dissolve,
    fault,
    fork,
    migrate,
    split,
    truncate,
    uffd,
    unmap,
)

DEFAULT: Final = "vma-dependence"
STABLE: Final = "stable-6.12.y"

#: Of each fix: short name, what it does, the module with the changed bodies, and whether it
#: declares a change of behaviour that one task can see (cgroup-pointers needs a second one).
_FIXES: Final = (
    ("cow-from-owner", "Let an owner's copy use the subpool's reserve", cow_from_owner, True),
    ("cgroup-pointers", "Keep the two cgroup charges apart", alloc_cgroup, False),
    ("unmap", "Give a reservation back on the last unmap only", unmap, True),
    ("dissolve", "Count a dissolved surplus page off the surplus", dissolve, True),
    ("truncate", "Lock a file's page before it is unmapped again", truncate, False),
    ("fault", "Tell an owner's copy by the folio, not by the page cache", fault, False),
    ("fork", "Restore the reservation when fork's copy fails", fork, False),
    ("uffd", "Restore the reservation when a retried copy fails", uffd, True),
    ("migrate", "Hand over the state of a migrated page without an early return", migrate, False),
    ("split", "Unshare page tables in the middle of a split", split, False),
)

#: Of a fix that changes conditions but no behaviour: these, and branches that cannot run.
_CONDITIONS: Final[Mapping[str, tuple[tuple[Predicate, ...], tuple[DeadBranch, ...]]]] = {
    "fault": ((OWNERS_COPY, LOCKS, UNLOCKED_EARLY), ()),
    "fork": ((CLEARS_WP,), FORK_DEAD),
    "migrate": ((MOVES_SURPLUS,), ()),
    "split": ((UNSHARES,), ()),
}


def modules_of(package: ModuleType) -> list[ModuleType]:
    """All modules of a package, by name."""
    return [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name)
    ]


@cache
def base() -> Symbols:
    """The symbol table of step 0: the kernel around it, HugeTLB, and legacy."""
    return collect(
        [
            *modules_of(models.kernel),
            *modules_of(models.hugetlb),
            legacy.hugetlb,
            digest,
            observation,
            statekey,
        ]
    )


def bodies(module: ModuleType, *names: str) -> dict[str, Any]:
    """Functions of a module by name."""
    return {name: getattr(module, name) for name in names}


@cache
def vma_dependence() -> Series:
    """The series that equivcheck was made for."""
    return Series(
        DEFAULT,
        "Reduce dependence on vmas deep in hugetlb allocation code",
        base(),
        (
            Patch(
                "1/3",
                "Simplify logic in dequeue_hugetlb_folio_vma()",
                replace={
                    **bodies(refactored.hugetlb, "dequeue_hugetlb_folio_vma"),
                    **bodies(after_patch1, "alloc_hugetlb_folio"),
                },
                predicates=(REFUSE, DEBIT),
                dead=DEAD,
            ),
            Patch(
                "2/3",
                "Refactor vma_has_reserves() to should_use_hstate_resv()",
                add=bodies(refactored.hugetlb, "should_use_hstate_resv"),
                remove=("vma_has_reserves",),
                replace=bodies(after_patch2, "alloc_hugetlb_folio"),
                predicates=(SHOULD_USE,),
            ),
            Patch(
                "3/3",
                "Remove unnecessary check for avoid_reserve",
                replace=bodies(refactored.hugetlb, "alloc_hugetlb_folio"),
                predicates=(NOT_OVERRIDDEN, COUNTED),
            ),
        ),
    )


@cache
def stable() -> Series:
    """From the base to 6.12.117, one step for each fix that can be seen in behaviour or flow."""
    return Series(
        STABLE,
        "mm/hugetlb.c from v6.12-rc3 to 6.12.117",
        base(),
        tuple(
            Patch(
                name,
                title,
                replace=replaced(module, base().table),
                add=added(module, base().table),
                declares_change=declares,
                predicates=_CONDITIONS.get(name, ((), ()))[0],
                dead=_CONDITIONS.get(name, ((), ()))[1],
            )
            for name, title, module, declares in _FIXES
        ),
    )


def replaced(module: ModuleType, table: Mapping[str, Any]) -> dict[str, Any]:
    """The functions of a module that take the place of the base's."""
    return {n: f for n, f in _own(module).items() if n in table}


def added(module: ModuleType, table: Mapping[str, Any]) -> dict[str, Any]:
    """The functions of a module that the base does not have."""
    return {n: f for n, f in _own(module).items() if n not in table}


def _own(module: ModuleType) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__
    }


class HugetlbConventions:
    """What the port tier must know of the models."""

    endings: Mapping[type[BaseException], Ending] = {
        KernelBug: "bug",
        KernelCrash: "crash",
        KernelDeadlock: "deadlock",
        KernelHang: "hang",
        Unmodelled: "unmodelled",
    }
    fuel = FUEL
    sections = frozenset(observation.SECTIONS)

    def machine(self, namespace: Mapping[str, Any]) -> Any:
        """The machine of a booted namespace."""
        return namespace["machine"]


BUILT_IN: Final[Mapping[str, Callable[[], Series]]] = {DEFAULT: vma_dependence, STABLE: stable}


class SeriesError(ValueError):
    """A series that cannot be found or loaded: the message says what would be."""


def load(name: str) -> Series:
    """A series of one's own, named ``MODULE:OBJECT``.

    ``OBJECT`` is a :class:`equivalence.series.Series` or a function that returns one. The module is
    imported, so this is for series of one's own, never for what somebody sent.

    Raises:
        SeriesError: the module does not give one.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        msg = f"series {name!r} cannot be loaded: {error}"
        raise SeriesError(msg) from None
    series = found() if callable(found) else found
    if not isinstance(series, Series):
        msg = f"series {name!r}: expected a Series, got {type(series).__name__}"
        raise SeriesError(msg)
    return series


def on_base(name: str, title: str, *patches: Patch) -> Series:
    """A series of one's own on the same base as the built-in ones."""
    return Series(name, title, base(), patches)
