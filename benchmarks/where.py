"""Where the processor's time goes: the stack, looked at every few milliseconds of it.

Looking from outside costs the code nothing between two looks, where a tracing profiler would make
functions that call many others look slow.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import FrameType
from typing import Final

from benchmarks.traces import lockstep_of
from equivalence.machine import search
from equivalence.sampler import sample
from equivalence.search import Session
from equivalence.subject import Subject, Tier

INTERVAL_S: Final = 0.002
#: Category -> what the path of its files contains. The innermost frame that has a category decides,
#: so that library code called by a port counts as that port's.
CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "comparison: digests and observations": (
        "subjects/hugetlb/digest.py",
        "subjects/hugetlb/observation.py",
        "subjects/hugetlb/statekey.py",
        "equivalence/oracle.py",
    ),
    "comparison: invariants": ("subjects/hugetlb/invariants.py",),
    "ports": ("/models/", "/legacy/", "/refactored/", "/stable/"),
    "drawing arguments": ("subjects/hugetlb/generator.py", "subjects/hugetlb/worlds.py"),
    "lockstep and systems": ("equivalence/driver.py", "equivalence/backends/"),
    "search and bookkeeping": ("equivalence/",),
    "Hypothesis": ("/hypothesis/",),
}


def category(frame: FrameType | None) -> str:
    """The category of a stack: that of its innermost frame that has one."""
    while frame is not None:
        path = frame.f_code.co_filename
        for name, parts in CATEGORIES.items():
            if any(part in path for part in parts):
                return name
        frame = frame.f_back
    return "other"


def shares(work: Callable[[], object]) -> dict[str, float]:
    """The share of processor time that each category takes of ``work``, largest first."""
    seen: Counter[str] = Counter()

    def look(number: int, frame: FrameType | None) -> None:
        seen[category(frame)] += 1

    previous = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    try:
        work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, previous)
    total = max(1, seen.total())
    return {name: count / total for name, count in seen.most_common()}


def searches(subject: Subject, tier: Tier, ops: int) -> Sequence[tuple[str, Callable[[], object]]]:
    """The two searches of every run, each over ``ops`` operations."""
    lockstep = lockstep_of(subject, tier)

    def machine() -> None:
        search(Session(subject, lockstep), subject.generator(), 0, ops)

    def sampler() -> None:
        sample(Session(subject, lockstep), subject.generator(), Random(0), ops)

    return (("machine", machine), ("sampler", sampler))
