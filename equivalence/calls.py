"""Which calls an operation made, and which way its conditions went: what a tier can tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from models.schema.trace import Trace

#: An operation that does more is recorded up to here.
MAX_EVENTS: Final = 20_000


class CallEvent(NamedTuple):
    """One thing that ran, in its order.

    - ``enter``: ``function`` is called; ``arguments`` are those that can be compared, and ``line``
      is the line of the call in the function that was running;
    - ``branch``: the condition ``text`` on ``line`` of ``function`` came out as ``value``;
    - ``leave``: ``function`` returned ``value`` on ``line``.
    """

    kind: Literal["enter", "branch", "leave"]
    function: str
    line: int = 0
    text: str = ""
    value: str = ""
    arguments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """The events of one operation; ``complete`` if all are there.

    ``conditions`` are all conditions of the functions that ran, whether they were asked or not.
    """

    events: tuple[CallEvent, ...]
    complete: bool = True
    conditions: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FunctionText:
    """A function's source: its name there, the file, and its lines from ``first_line`` on."""

    name: str
    file: str
    first_line: int
    lines: tuple[str, ...]


@runtime_checkable
class ShowsSource(Protocol):
    """A tier that can show the source of what it runs."""

    def function_text(self, step: int, function: str) -> FunctionText | None:
        """The source of a function at a step; None if it is not there."""

    def hunk(self, before: int, after: int, function: str) -> str:
        """What the patches between two steps do to a function, as a unified diff."""


@runtime_checkable
class TellsCalls(ShowsSource, Protocol):
    """A tier that can tell the calls of an operation."""

    def recording(self, step: int, trace: Trace, index: int) -> Recording | None:
        """Run a trace up to operation ``index`` and record that one; None if that cannot be."""
