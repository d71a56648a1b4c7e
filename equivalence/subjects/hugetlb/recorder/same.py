"""Compare two recordings of one trace: everything that repeats on one and the same kernel.

Not compared are the frame numbers themselves (the buddy allocator gives out what it has; *which*
pages are the same page, and their node, is compared), the kernel log (its lines are rate
limited), and the release of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from equivalence.subjects.hugetlb.recorder.live import Json

_NOT_COMPARED = ("klog", "kernel")


class Difference(NamedTuple):
    """One field that differs: the line (0 is the head, -1 the tail), its path, both values."""

    line: int
    field: str
    recorded: object
    again: object

    def __str__(self) -> str:
        where = {0: "head", -1: "tail"}.get(self.line, f"operation {self.line}")
        return f"{where}: {self.field}: recorded {self.recorded!r}, now {self.again!r}"


_ABSENT = "(absent)"


def differences(recorded: list[Json], again: list[Json]) -> list[Difference]:
    """Return all differences between two traces (lists of lines), in the order of lines."""
    if len(recorded) != len(again):
        return [Difference(0, "number of lines", len(recorded), len(again))]
    found: list[Difference] = []
    last = len(recorded) - 1
    for at, (old, new) in enumerate(zip(recorded, again, strict=True)):
        number = -1 if at == last else old.get("i", 0)
        for field, one, other in _unequal("", canonical(old), canonical(new)):
            found.append(Difference(number, field, one, other))
    return found


def canonical(line: Json) -> Json:
    """Return a line without what does not repeat; frames become numbers in order of first use."""
    seen: dict[str, str] = {}

    def page(entry: str | None) -> str | None:
        if entry is None or ":" not in entry:
            return entry
        node = entry.split(":", 1)[0]
        return seen.setdefault(entry, f"{node}:page {len(seen)}")

    kept = {key: value for key, value in line.items() if key not in _NOT_COMPARED}
    kept["procs"] = {
        name: {
            **process,
            "maps": {
                map_name: [page(entry) for entry in entries]
                for map_name, entries in process["maps"].items()
            },
        }
        for name, process in line.get("procs", {}).items()
    }
    return kept


def _unequal(path: str, one: Any, other: Any) -> Iterator[tuple[str, object, object]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            below = f"{path}.{key}" if path else str(key)
            yield from _unequal(below, one.get(key, _ABSENT), other.get(key, _ABSENT))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _unequal(f"{path}[{at}]", left, right)
    elif one != other:
        yield path, one, other
