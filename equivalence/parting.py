"""Where two recordings of one operation part: the first call or branch that differs.

A patch may split, merge and rename functions without changing what they do. So what stands on one
side only is passed over: a function that only one side has (what it calls is taken for its
caller's), a condition that only one version of a changed function asks, an argument that only one
version has. The first difference in what is left is where the two sides part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from equivalence.calls import CallEvent, Recording, TellsCalls
from equivalence.subject import Change
from models.schema.calls import CallDifference, CallRow, CallSide, CallTrees, Parting, SourceText
from models.schema.trace import Trace

#: Rows that are kept before the first difference, and from there on.
MAX_EARLIER: Final = 160
MAX_LATER: Final = 60
#: Lines of source on either side of the marked one, and lines of a hunk.
CONTEXT: Final = 7
MAX_HUNK: Final = 120

Key = tuple[object, ...]


def call_trees(
    tier: object,
    steps: tuple[int, int],
    changes: Sequence[Change],
    trace: Trace,
    index: int,
) -> CallTrees | None:
    """Both sides of operation ``index``.

    None where there is nothing to compare: at boot, for operations that run together, and on a tier
    that does not tell.
    """
    if index < 0 or trace.schedule or not isinstance(tier, TellsCalls):
        return None
    sides = tuple(
        _Side(tier, step, recording)
        for step in steps
        if (recording := tier.recording(step, trace, index)) is not None
    )
    if len(sides) < len(steps):
        return None
    roles = {change.function: change.role for change in changes if change.role != "caller"}
    view = _View(roles, *(side.recording for side in sides))
    first = view.first_difference()
    parting, places = _parting(sides, first)
    hunk_of = _hunk_of(sides, places, roles)
    hunk = tier.hunk(*steps, hunk_of) if hunk_of is not None else ""
    one, other = (
        _side(side, place, roles, changes) for side, place in zip(sides, places, strict=True)
    )
    return CallTrees(
        op=str(trace.ops[index]),
        parting=parting,
        before=one,
        after=other,
        first_result=_first_result(sides, roles),
        hunk=_cut(hunk),
        hunk_of=_name(sides, hunk_of) if hunk_of is not None else "",
        cut=not all(side.recording.complete for side in sides),
    )


@dataclass(frozen=True, slots=True)
class _Side:
    tier: TellsCalls
    step: int
    recording: Recording

    @property
    def events(self) -> tuple[CallEvent, ...]:
        return self.recording.events

    def name(self, function: str) -> str:
        text = self.tier.function_text(self.step, function)
        return function if text is None else text.name

    def stack(self, place: int) -> list[tuple[str, int]]:
        """The functions that run when event ``place`` happens, and on which line each is."""
        running: list[tuple[str, int]] = []
        for event in self.events[:place]:
            if event.kind == "leave":
                running.pop()
            else:
                if running:
                    running[-1] = running[-1][0], event.line or running[-1][1]
                if event.kind == "enter":
                    running.append((event.function, 0))
        if running and place < len(self.events) and self.events[place].line:
            running[-1] = running[-1][0], self.events[place].line
        return running


class _View:
    """What of two recordings can be compared: keys, and the event that each stands for."""

    def __init__(self, roles: Mapping[str, str], one: Recording, other: Recording) -> None:
        self._roles = roles
        self._recordings = one, other

    def first_difference(self) -> tuple[int, int] | None:
        """The first events that differ; None if none does."""
        one, other = (self._keys(number) for number in (0, 1))
        for (left, first), (right, second) in zip(one, other, strict=False):
            if left != right:
                return first, second
        if len(one) == len(other):
            return None
        shorter = min(len(one), len(other))
        ends = tuple(len(recording.events) for recording in self._recordings)
        places = [keys[shorter][1] if shorter < len(keys) else ends[n]
                  for n, keys in enumerate((one, other))]  # fmt: skip
        return places[0], places[1]

    def _keys(self, number: int) -> list[tuple[Key, int]]:
        mine, others = self._recordings[number], self._recordings[1 - number]
        arguments = _arguments(others)
        keys: list[tuple[Key, int]] = []
        for place, event in enumerate(mine.events):
            role = self._roles.get(event.function)
            if role in ("added", "removed"):
                continue
            if event.kind == "enter":
                known = arguments.get(event.function)
                shared = tuple(
                    pair
                    for pair in event.arguments
                    if role is None or known is None or pair[0] in known
                )
                keys.append((("enter", event.function, shared), place))
            elif event.kind == "leave":
                keys.append((("leave", event.function, event.value), place))
            elif role is None or event.text in others.conditions.get(event.function, ()):
                keys.append((("branch", event.function, event.text, event.value), place))
        return keys


def _arguments(recording: Recording) -> dict[str, set[str]]:
    """Function -> the names of its arguments, as far as they were recorded."""
    found: dict[str, set[str]] = {}
    for event in recording.events:
        if event.kind == "enter":
            found.setdefault(event.function, set()).update(name for name, _ in event.arguments)
    return found


def _parting(
    sides: Sequence[_Side], first: tuple[int, int] | None
) -> tuple[Parting, tuple[int, int]]:
    if first is None:
        return "nowhere", (len(sides[0].events), len(sides[1].events))
    events = [
        side.events[place] if place < len(side.events) else None
        for side, place in zip(sides, first, strict=True)
    ]
    one, other = events
    if one is None or other is None or (one.kind, one.function) != (other.kind, other.function):
        return "call", first
    if one.kind == "enter":
        return "arguments", first
    if one.kind == "leave":
        return "result", first
    return "branch", first


def _hunk_of(sides: Sequence[_Side], places: tuple[int, int], roles: Collection[str]) -> str | None:
    """The changed function in which the sides part, or that ran last before."""
    for side, place in zip(sides, places, strict=True):
        for function, _ in reversed(side.stack(place)):
            if function in roles:
                return function
    for side, place in zip(sides, places, strict=True):
        for event in reversed(side.events[:place]):
            if event.function in roles:
                return event.function
    return None


def _first_result(sides: Sequence[_Side], roles: Mapping[str, str]) -> CallDifference | None:
    """The first call that both sides make and that comes to something else.

    A refactoring may move calls, so the n-th call of a function is compared with the n-th.
    """
    one, other = (_ended(side.events) for side in sides)
    numbers: Counter[str] = Counter()
    for function, text in one:
        if roles.get(function) in ("added", "removed"):
            continue
        nth = [text for name, text in other if name == function]
        number = numbers[function]
        numbers[function] += 1
        if number < len(nth) and _result(nth[number]) != _result(text):
            name = sides[0].name(function)
            return CallDifference(function=name, before=text, after=nth[number])
    return None


def _ended(events: Sequence[CallEvent]) -> list[tuple[str, str]]:
    """The calls in the order in which they ended: function, arguments and result."""
    running: list[CallEvent] = []
    ended = []
    for event in events:
        if event.kind == "enter":
            running.append(event)
        elif event.kind == "leave":
            call = running.pop()
            text = f"({_list(call.arguments)}){_RESULT}{event.value}"
            ended.append((event.function, text))
    return ended


def _result(text: str) -> str:
    return text.rpartition(_RESULT)[2]


_RESULT: Final = " → "


def _name(sides: Sequence[_Side], function: str) -> str:
    names = [side.name(function) for side in sides]
    return next((name for name in names if name != function), function)


def _side(side: _Side, place: int, roles: Collection[str], changes: Sequence[Change]) -> CallSide:
    rows, marked = _rows(side, place, roles)
    start = max(0, marked - MAX_EARLIER)
    stop = min(len(rows), marked + MAX_LATER)
    stack = side.stack(place)
    event = side.events[place] if place < len(side.events) else None
    return CallSide(
        rows=tuple(rows[start:stop]),
        earlier=start,
        later=len(rows) - stop,
        stack=tuple(side.name(function) for function, _ in stack),
        said=_said(side, event),
        source=_source(side, stack, changes),
    )


def _said(side: _Side, event: CallEvent | None) -> str:
    if event is None:
        return "does nothing more"
    name = side.name(event.function)
    if event.kind == "enter":
        return f"calls {name}({_list(event.arguments)})"
    if event.kind == "leave":
        return f"{name}() returns{f' {event.value}' if event.value else ''}"
    return f"finds {event.text} {event.value}" if event.value else f"goes on at {event.text!r}"


def _list(arguments: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments)


def _rows(side: _Side, place: int, roles: Collection[str]) -> tuple[list[CallRow], int]:
    """All rows of a side, and the number of the one where it parts."""
    rows: list[CallRow] = []
    open_calls: list[int] = []
    marked: int | None = None
    for number, event in enumerate(side.events):
        if number == place and event.kind != "leave":
            marked = len(rows)
        if event.kind == "leave":
            row = open_calls.pop()
            rows[row] = rows[row].model_copy(update={"result": event.value})
            if number == place:
                marked = row
        elif event.kind == "enter" or event.function in roles or number == place:
            if event.kind == "enter":
                open_calls.append(len(rows))
            rows.append(
                CallRow(
                    kind="call" if event.kind == "enter" else "branch",
                    depth=len(open_calls) - (event.kind == "enter"),
                    function=side.name(event.function),
                    text=event.text or _list(event.arguments),
                    result=event.value,
                    changed=event.function in roles,
                )
            )
    if marked is not None:
        rows[marked] = rows[marked].model_copy(update={"first_difference": True})
    return rows, len(rows) if marked is None else marked


def _source(
    side: _Side, stack: Sequence[tuple[str, int]], changes: Sequence[Change]
) -> SourceText | None:
    """The source around the line where a side parts: of the innermost function with a line."""
    for function, line in reversed(stack):
        text = side.tier.function_text(side.step, function)
        if text is None or not line:
            continue
        points = frozenset[str]().union(
            *((*one.before, *one.after) for one in changes if one.function == function)
        )
        start = max(0, line - text.first_line - CONTEXT)
        lines = text.lines[start : line - text.first_line + CONTEXT + 1]
        return SourceText(
            function=text.name,
            file=text.file,
            first_line=text.first_line + start,
            lines=lines,
            marked=line,
            changed=tuple(
                number
                for number in range(text.first_line + start, text.first_line + start + len(lines))
                if not points.isdisjoint((str(number), f"{text.file}:{number}"))
            ),
        )
    return None


def _cut(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= MAX_HUNK:
        return text
    return "\n".join([*lines[:MAX_HUNK], f"... and {len(lines) - MAX_HUNK} more lines"])
