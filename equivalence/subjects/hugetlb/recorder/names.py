"""The names that a trace gives to things in the guest, and the numbered slots behind them.

The guest knows slots only. A name takes the first free slot and gives it back when the thing is
gone, and everything is listed in the order of slots: this is the order in recorded traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError

SLOTS = 16
"""How many of each kind the guest has room for."""


class Slots:
    """Names of one kind, each in one of `SLOTS` slots."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._at: list[str | None] = [None] * SLOTS

    def copy(self) -> Slots:
        """Return an independent table with the same names in the same slots."""
        twin = Slots(self.kind)
        twin._at = list(self._at)
        return twin

    def __contains__(self, name: object) -> bool:
        return name in self._at

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Iterate over (slot, name) in the order of slots."""
        return ((slot, name) for slot, name in enumerate(self._at) if name is not None)

    def slot(self, name: str) -> int:
        """Return the slot of `name`. Raises `OperationRefusedError` for an unknown name."""
        if name in self:
            return self._at.index(name)
        known = ", ".join(known for _, known in self) or "none"
        msg = f"{self.kind} {name!r} does not exist; there are: {known}"
        raise OperationRefusedError(msg)

    def free(self, name: str) -> int:
        """Return the slot that `name` would take.

        Raises `OperationRefusedError` if the name is in use or no slot is free.
        """
        if name in self:
            msg = f"{self.kind} {name!r} exists already; choose another name"
            raise OperationRefusedError(msg)
        if None not in self._at:
            msg = f"no room for {self.kind} {name!r}: {SLOTS} exist; let go of one first"
            raise OperationRefusedError(msg)
        return self._at.index(None)

    def take(self, name: str) -> None:
        """Put `name` into the first free slot; raises like `free`."""
        self._at[self.free(name)] = name

    def drop(self, name: str) -> None:
        """Give the slot of `name` back; raises like `slot`."""
        self._at[self.slot(name)] = None


@dataclass(slots=True)
class Process:
    """What one process has: its mappings and, per page, whether they lost it; its files."""

    maps: Slots = field(default_factory=lambda: Slots("mapping"))
    lost: dict[str, list[bool]] = field(default_factory=dict)
    fds: Slots = field(default_factory=lambda: Slots("fd"))
    pins: Slots = field(default_factory=lambda: Slots("pin"))

    def copy(self) -> Process:
        """Return what a child made by fork(2) has; pins stay with the parent."""
        lost = {name: list(pages) for name, pages in self.lost.items()}
        return Process(self.maps.copy(), lost, self.fds.copy())

    def add_map(self, name: str, length: int) -> None:
        """Note a mapping of `length` huge pages."""
        self.maps.take(name)
        self.lost[name] = [False] * length

    def lose(self, name: str, start: int, length: int) -> None:
        """Note that `length` huge pages from page `start` on are no longer part of the mapping.

        A mapping that has lost every page is forgotten.
        """
        pages = self.lost[name]
        for page in range(start, min(start + length, len(pages))):
            pages[page] = True
        if all(pages):
            self.maps.drop(name)
            del self.lost[name]


@dataclass(slots=True)
class Names:
    """All names in one trace."""

    slots: Slots = field(default_factory=lambda: Slots("process"))
    processes: dict[str, Process] = field(default_factory=dict)
    mounts: Slots = field(default_factory=lambda: Slots("mount"))
    cgroups: Slots = field(default_factory=lambda: Slots("cgroup"))
    segments: Slots = field(default_factory=lambda: Slots("shm"))
    segment_length: dict[str, int] = field(default_factory=dict)
    #: Frames that were looked up, as huge pages of physical memory.
    frames: dict[str, int] = field(default_factory=dict)
    #: What the last answer showed of each process's mappings.
    shown: dict[str, dict[str, list[str | None]]] = field(default_factory=dict)

    def process(self, name: str) -> Process:
        """Return the process called `name`. Raises `OperationRefusedError` for an unknown name."""
        self.slots.slot(name)
        return self.processes[name]

    def add_process(self, name: str, process: Process) -> None:
        """Note a new process."""
        self.slots.take(name)
        self.processes[name] = process

    def drop_process(self, name: str) -> None:
        """Forget a process that was reaped."""
        self.slots.drop(name)
        del self.processes[name]
