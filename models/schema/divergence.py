"""One disagreement between two systems, and what makes two disagreements the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from models.schema.trace import Op, Trace

#: Keys and positions that lead to a value: section first (or ``outcome``, ``effects``).
Path = tuple[str | int, ...]


class Absent:
    """Stands where one side has no value at all."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Final = Absent()


class Identity(NamedTuple):
    """What must stay the same while a counterexample shrinks: never merely "still fails".

    ``shape`` is the field path without what shrinking may rename: names that the trace gives, and
    numbers.
    """

    kind: str
    shape: str
    function: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two sides differ, with both values."""

    path: Path
    before: Any
    after: Any

    @property
    def field(self) -> str:
        """The path as text."""
        return path_text(self.path)


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first disagreement of a trace.

    ``differences`` lists the fields that differ after operation ``op_index``, first field first
    (bounded; never empty). ``function`` names where the two sides parted, if that is known.
    """

    op_index: int
    op: Op
    differences: tuple[Difference, ...]
    function: str | None = None

    @property
    def first(self) -> Difference:
        """The first field in canonical order."""
        return self.differences[0]

    def identity(self, trace: Trace) -> Identity:
        """What this disagreement is, whatever the names and numbers of the trace."""
        return Identity(self.op.kind, _shape(self.first.path, names(trace)), self.function)


def path_text(path: Path) -> str:
    """A field path as text, such as ``counters.resv``."""
    return ".".join(map(str, path))


def names(trace: Trace) -> frozenset[str]:
    """All names that the arguments of a trace give to things; a number in words is none."""
    return frozenset(
        value
        for op in trace.ops
        for value in op.args.values()
        if isinstance(value, str) and not value.isdecimal()
    )


def _shape(path: Path, given: frozenset[str]) -> str:
    head, *rest = map(str, path)
    return ".".join([head, *("*" if word in given else _NUMBER.sub("#", word) for word in rest)])


_NUMBER: Final = re.compile(r"[0-9]+")


def plain(value: Any, depth: int = 6) -> Any:
    """A value as JSON can hold it; what is nested deeper than ``depth`` becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if depth == 0 or not isinstance(value, (Mapping, list, tuple)):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner, depth - 1) for key, inner in value.items()}
    return [plain(inner, depth - 1) for inner in value]
