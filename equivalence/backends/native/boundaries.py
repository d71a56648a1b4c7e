"""The lock boundaries that operations passed while they ran together on the C, in words.

A lock goes by its kind: the words it was initialised with, the member of a struct that it is, or
the variable. Two locks of one kind are not told apart, since which of several the code picks may
depend on addresses.
"""

from __future__ import annotations

import re
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from models.schema.outcome import Outcome

_HEAD: Final = struct.Struct("<2IQ")
_LOCK: Final = struct.Struct("<Q56s")
_BOUNDARY: Final = struct.Struct("<2BH")
_LOCKS, _BOUNDARIES = 1024, 20_000
_AT_BOUNDARIES: Final = _HEAD.size + _LOCKS * _LOCK.size
#: The room of it in the shared memory.
TOGETHER_BYTES: Final = 1 << 18

_TAKES: Final = (
    "spin_lock",
    "spin_trylock",
    "read_lock",
    "write_lock",
    "mutex_lock",
    "mutex_trylock",
    "down_read",
    "down_read_trylock",
    "down_write",
    "down_write_trylock",
    "downgrade_write",
)
_RELEASES: Final = (
    "spin_unlock",
    "read_unlock",
    "write_unlock",
    "mutex_unlock",
    "up_read",
    "up_write",
)
_CAME_OFF, _RELEASED, _FIXED = 0x20, 0x40, 0x8000
_WHAT: Final[Mapping[int, str]] = {
    **dict(enumerate(_TAKES)),
    **{_CAME_OFF | number: name for number, name in enumerate(_TAKES)},
    **{_RELEASED + number: name for number, name in enumerate(_RELEASES)},
}


@dataclass(frozen=True, slots=True)
class Together:
    """What operations that ran together came to; see :class:`equivalence.subject.Joint`."""

    outcomes: tuple[Outcome, ...]
    boundaries: tuple[tuple[int, str, str], ...]
    inversions: tuple[tuple[str, str], ...]


class Symbols:
    """The variables of an image by their addresses."""

    def __init__(self, image: Path) -> None:
        self._image = image

    @cached_property
    def _known(self) -> tuple[list[int], list[tuple[int, str]]]:
        words = ["nm", "-S", "--defined-only", str(self._image)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found = re.findall(r"^(\w+) (\w+) [bBdD] ([\w.]+)$", done.stdout, re.MULTILINE)
        rows = sorted((int(at, 16), int(size, 16), name) for at, size, name in found)
        return [row[0] for row in rows], [row[1:] for row in rows]

    def name(self, address: int) -> str:
        """The variable that an address is in; static ones without their number."""
        starts, rows = self._known
        place = bisect_right(starts, address) - 1
        if place < 0 or address >= starts[place] + rows[place][0]:
            return "lock without a name"
        offset = address - starts[place]
        name = re.sub(r"\.\d+$", "", rows[place][1])
        return f"{name}+{offset}" if offset else name


@dataclass(frozen=True, slots=True)
class Passed:
    """The boundaries at which a task could be switched away, and the locks taken in either order.

    ``ended`` has a bit for each task that came to its end.
    """

    ended: int
    boundaries: tuple[tuple[int, str, str], ...]
    inversions: tuple[tuple[str, str], ...]


def read_boundaries(data: memoryview | bytes, symbols: Symbols) -> Passed:
    """Read what the shim wrote down of the last operations that ran together."""
    count, locks, ended = _HEAD.unpack_from(data, 0)
    names: list[str] = []
    for number in range(min(locks, _LOCKS)):
        address, text = _LOCK.unpack_from(data, _HEAD.size + number * _LOCK.size)
        name = text.partition(b"\0")[0].decode(errors="replace").lstrip("&")
        names.append(name or symbols.name(address))
    end = _AT_BOUNDARIES + min(count, _BOUNDARIES) * _BOUNDARY.size
    boundaries: list[tuple[int, str, str]] = []
    orders: set[tuple[str, str]] = set()
    held: dict[int, list[int]] = {}
    for task, what, word in _BOUNDARY.iter_unpack(data[_AT_BOUNDARIES:end]):
        lock = word & ~_FIXED
        if not word & _FIXED:
            boundaries.append((task, _WHAT[what], names[lock]))
        mine = held.setdefault(task, [])
        if what & _RELEASED:
            if lock in mine:
                mine.remove(lock)
            continue
        kind = _TAKES[what & ~_CAME_OFF]
        if kind.endswith("trylock"):
            # An attempt never waits, so it adds no order; what it took may hold up others.
            if what & _CAME_OFF:
                mine.append(lock)
        elif kind != "downgrade_write":
            name = names[lock]
            orders.update((names[other], name) for other in mine if names[other] != name)
            mine.append(lock)
    inversions = {(one, two) for one, two in orders if one < two and (two, one) in orders}
    return Passed(ended, tuple(boundaries), tuple(sorted(inversions)))
