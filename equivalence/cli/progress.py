"""Live progress on standard error: bars on a terminal, otherwise one line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from equivalence import events
from equivalence.events import Event, OnEvent, PairName
from reports.text import one_line

#: Seconds between two lines about the same pair.
EVERY_S: Final = 10.0


@contextmanager
def progress(console: Console) -> Iterator[OnEvent]:
    """What to tell the engine's events to."""
    if not console.is_terminal:
        yield Lines(console)
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("ops"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bars:
        yield Bars(bars)


def name_of(pair: PairName) -> str:
    """A pair in a few words."""
    patch = one_line(pair.patch, 24)
    if pair.against == "self":
        return f"step {pair.before} ({patch}) against itself"
    return f"{patch} against {'the base' if pair.before == 0 else f'step {pair.before}'}"


def remark(event: Event) -> str | None:
    """What is said of an event both on a terminal and off it."""
    match event:
        case events.Shrinking(what, ops):
            return f"  making a trace of {ops} ops minimal: {one_line(what, 100)}"
        case events.Mutating(pair):
            return f"  planting bugs in what {name_of(pair)} touches"
        case events.DivergenceFound(_, found):
            return f"  diverged in {one_line(found.field)}, trace of {found.ops} ops"
        case events.DefectFound(found):
            return f"  defect, not a divergence: {one_line(found.invariant, 100)}"
        case events.Note(text):
            return f"  note: {one_line(text, 500)}"
        case events.Stopped(reason):
            return f"Ending early: {reason}"
    return None


class Lines:
    """Plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = 0
        self._pairs = 0
        self._last_s = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Say what the event is, if it is worth a line."""
        line = self._line(event)
        if line is not None:
            self._console.print(line, soft_wrap=True)
            self._last_s = time.monotonic()

    def _line(self, event: Event) -> str | None:
        match event:
            case events.RunStarted(pairs, ops):
                self._pairs = len(pairs)
                return f"{len(pairs)} pairs, {ops:,} ops each"
            case events.Progress(pair, ops, budget) if time.monotonic() - self._last_s > EVERY_S:
                return f"  {name_of(pair)}: {ops:,} of {budget:,} ops"
            case events.ExploreProgress(pair, now) if time.monotonic() - self._last_s > EVERY_S:
                rate = now.transitions / now.seconds if now.seconds else 0.0
                where = f"  {name_of(pair)}: world {now.world}, depth {now.depth}"
                return (
                    f"{where}: {now.states:,} states, {now.frontier:,} to expand, "
                    f"{now.transitions:,} transitions, {rate:,.0f}/s"
                )
            case events.PairFinished(pair, result, seconds):
                self._done += 1
                done = f"[{self._done}/{self._pairs}] {name_of(pair)}: {result.verdict.value}"
                return f"{done}, {result.ops:,} ops in {seconds:.1f} s"
        return remark(event)


class Bars:
    """One bar for the pair that runs, and a line for each that has ended."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._lines = Lines(bars.console)

    def __call__(self, event: Event) -> None:
        """Move the bar, or say what the event is."""
        match event:
            case events.PairStarted(pair):
                self._task = self._bars.add_task(name_of(pair), total=None)
            case events.Progress(_, ops, budget) if self._task is not None:
                self._bars.update(self._task, completed=ops, total=budget)
            case events.Shrinking(what) if self._task is not None:
                self._bars.update(self._task, description=f"shrinking: {one_line(what, 40)}")
            case _:
                if isinstance(event, events.PairFinished) and self._task is not None:
                    self._bars.remove_task(self._task)
                    self._task = None
                self._lines(event)
