"""Time and memory of this process, and what a measurement is allowed to be.

Only ratios of two measurements of the same run are checked: a machine that is busy or slow changes
both. Rounds alternate between the two, and the median of their ratios is taken.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Check:
    """One ratio and its limit; ``detail`` has the absolute numbers behind it."""

    name: str
    ratio: float
    limit: float
    detail: str

    @property
    def holds(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.ratio <= self.limit


@dataclass(frozen=True, slots=True)
class Speed:
    """Operations per second of processor time: reported, never checked."""

    name: str
    ops: int
    seconds: float

    @property
    def ops_per_s(self) -> float:
        """Operations per second."""
        return self.ops / max(self.seconds, 1e-9)


def cpu_s(work: Callable[[], object]) -> float:
    """Processor seconds that ``work`` takes, without what collecting earlier garbage takes."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def paired_s(
    one: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Median seconds of both, and the median of their ratios ``one / other``."""
    one()
    other()
    ones, others, ratios = [], [], []
    for _ in range(rounds):
        ones.append(cpu_s(one))
        others.append(cpu_s(other))
        ratios.append(ones[-1] / others[-1])
    return median(ones), median(others), median(ratios)


def resident_bytes() -> int:
    """Memory that this process has now, after collecting garbage."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
