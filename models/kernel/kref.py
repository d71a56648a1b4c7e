# Fidelity: DUP
"""Reference counts of structures (include/linux/kref.h); a structure's count is its ``refs``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from models.kernel.machine import bug_on
from models.kernel.port import ported


class Counted(Protocol):
    """A structure with a kref."""

    refs: int


C = TypeVar("C", bound=Counted)


@ported("include/linux/kref.h", "kref_get")
def kref_get(counted: Counted) -> None:
    """Take one reference; a structure without any was freed already, which is a BUG here."""
    bug_on(counted.refs <= 0, "refcount_t: addition on 0; use-after-free")
    counted.refs += 1


@ported("include/linux/kref.h", "kref_put")
def kref_put(counted: C, release: Callable[[C], None]) -> bool:
    """Drop one reference; the last one calls ``release``. Returns whether it was called."""
    bug_on(counted.refs <= 0, "refcount_t: underflow; use-after-free")
    counted.refs -= 1
    if counted.refs == 0:
        release(counted)
        return True
    return False
