"""Records the calls of the C: an image whose functions and blocks write down that they run.

Such an image is built of the same files for this alone; verdicts and counts come from others.
Arguments and results are not recorded. A line that a block begins stands for the branch taken.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

from equivalence.backends.native.build import NativeImage
from equivalence.backends.native.places import Place, Places
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.calls import MAX_EVENTS, CallEvent, FunctionText, Recording
from models.schema.trace import Trace

_BASE: Final = 0x400000
_ENTRY: Final = struct.Struct("<3I")
_BLOCK, _ENTER = 0, 1

FindText = Callable[[str], FunctionText | None]


class _Entry(NamedTuple):
    """What ran: a block, or a function entered or left; addresses in the image."""

    kind: int
    function: int
    at: int
    caller: int


def record(
    image: NativeImage,
    trace: Trace,
    index: int,
    files: Collection[str],
    text_of: FindText,
    seconds: float,
) -> Recording:
    """Run a trace on a recording image up to operation ``index`` and tell what that one calls.

    ``files`` are those that record; ``seconds`` of processor time make an operation a hang.
    """
    runner = Runner(image)
    try:
        system = NativeSystem(image, runner=runner, seconds=seconds)
        system.boot(trace.world)
        for op in trace.ops[:index]:
            system.apply(op)
        (worker,) = runner.workers
        worker.forget_coverage()
        system.apply(trace.ops[index])
        count = worker.coverage_count()
        kept = min(count, MAX_EVENTS)
        data = worker.coverage((0, _ENTRY.size * kept))
    finally:
        runner.close()
    entries = [_entry(*words) for words in _ENTRY.iter_unpack(data)]
    places = runner.places
    places.look_up(address for entry in entries for address in _addresses(entry))
    events = tuple(_Told(places, files, text_of).events(entries))
    texts = {event.function: text_of(event.function) for event in events}
    conditions = {
        name: frozenset(line.strip() for line in text.lines)
        for name, text in texts.items()
        if text is not None
    }
    return Recording(events, count == kept, conditions)


def _entry(first: int, at: int, caller: int) -> _Entry:
    kind, function = first >> 30, first & ((1 << 30) - 1)
    return _Entry(kind, function + _BASE, at + _BASE, caller + _BASE)


def _addresses(entry: _Entry) -> tuple[int, ...]:
    """The addresses that are looked up; of a call, the instruction before the one returned to."""
    if entry.kind == _BLOCK:
        return (entry.at,)
    return entry.function, entry.at - 1, entry.caller - 1


class _Told:
    """From what was written down to events."""

    def __init__(self, places: Places, files: Collection[str], text_of: FindText) -> None:
        self._places = places
        self._files = frozenset(files)
        self._text_of = text_of

    def events(self, entries: Collection[_Entry]) -> Iterator[CallEvent]:
        """The events, in order."""
        running: list[str] = []
        for entry in entries:
            if entry.kind == _BLOCK:
                place = self._source(entry.at)
                if place is not None and running and _plain(place.function) == running[-1]:
                    text = self._line(running[-1], place.line)
                    yield CallEvent("branch", running[-1], place.line, text)
                continue
            name = _plain(self._places.of(entry.function)[-1].function)
            if entry.kind == _ENTER:
                line = self._call(entry, name, running[-1]) if running else 0
                yield CallEvent("enter", name, line)
                running.append(name)
            elif name in running:
                # What never returned (a BUG, a hang) was not left.
                while running.pop() != name:
                    pass
                yield CallEvent("leave", name)

    def _source(self, address: int) -> Place | None:
        """The innermost place of an address that is in a file that records."""
        return next((p for p in self._places.of(address) if p.file in self._files), None)

    def _call(self, entry: _Entry, name: str, caller: str) -> int:
        """The line of the caller on which a function was called; 0 if it is not known."""
        inlined = [p for p in self._places.of(entry.at - 1) if p.file in self._files]
        called = inlined[1:] if inlined and _plain(inlined[0].function) == name else []
        outside = [p for p in self._places.of(entry.caller - 1) if p.file in self._files]
        for place in (*called, *outside):
            if _plain(place.function) == caller:
                return place.line
        return 0

    def _line(self, function: str, number: int) -> str:
        text = self._text_of(function)
        if text is None or not 0 <= number - text.first_line < len(text.lines):
            return f"line {number}"
        return text.lines[number - text.first_line].strip()


def _plain(function: str) -> str:
    """The name in the C of what the compiler may have split (``f.part.0``)."""
    return function.partition(".")[0]
