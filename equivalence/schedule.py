"""Schedules as values: at which lock boundaries which task takes over.

In a trace with a schedule, ``tasks`` operations from number ``at`` on run together, one in each
task; the operations before and after them run alone. A task goes on until it blocks or ends, and
then the first that can run does, except at the boundaries that ``switches`` names: at boundary
number ``point`` (from 0, counted over all tasks) the task given takes over, if it can run. So a
schedule without switches is one operation after the other, and fewer switches are a simpler story.

As text (in a trace's ``schedule`` line): ``AT-TASKS/POINT.TASK,POINT.TASK,...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from random import Random
from typing import Final

from models.schema.trace import TraceError

#: A schedule is one word of a trace, so it has few switches; races need few.
MAX_SWITCHES: Final = 6
MAX_TASKS: Final = 3
_TEXT: Final = re.compile(r"(\d{1,6})-([23])/((?:\d{1,5}\.[012])(?:,\d{1,5}\.[012])*)?")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which operations run together, and the switches: (boundary, task), by rising boundary."""

    at: int
    tasks: int
    switches: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.at}-{self.tasks}/" + ",".join(f"{p}.{task}" for p, task in self.switches)


def parse_schedule(text: str) -> Schedule:
    """Read a schedule's text.

    Raises:
        TraceError: it is not one.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        expected = "AT-TASKS/POINT.TASK,... such as 3-2/4.1,9.0"
        msg = f"schedule: got {text[:40]!r}, expected {expected}"
        raise TraceError(msg)
    at, tasks, rest = int(match[1]), int(match[2]), match[3] or ""
    parts = [part.split(".") for part in rest.split(",") if part]
    switches = tuple((int(point), int(task)) for point, task in parts)
    points = [point for point, _ in switches]
    if points != sorted(set(points)) or any(task >= tasks for _, task in switches):
        msg = f"schedule: {text!r}: boundaries must rise, and tasks be below {tasks}"
        raise TraceError(msg)
    return Schedule(at, tasks, switches)


def enumerate_switches(
    boundaries: int, tasks: int, preemptions: int
) -> Iterator[tuple[tuple[int, int], ...]]:
    """All switches at up to ``preemptions`` of so many boundaries, fewer first."""
    for count in range(preemptions + 1):
        for points in combinations(range(boundaries), count):
            for chosen in product(range(tasks), repeat=count):
                yield tuple(zip(points, chosen, strict=True))


def random_switches(rng: Random, boundaries: int, tasks: int) -> tuple[tuple[int, int], ...]:
    """Switches at some boundaries, each to any task."""
    if boundaries == 0:
        return ()
    count = min(1 + int(rng.random() * MAX_SWITCHES), boundaries)
    points = sorted(rng.sample(range(boundaries), count))
    return tuple((point, int(rng.random() * tasks)) for point in points)


def pct_switches(
    rng: Random, boundaries: int, tasks: int, depth: int
) -> tuple[tuple[int, int], ...]:
    """Probabilistic concurrency testing: the tasks in a random order of priority, and ``depth``
    minus one points at which the running one becomes the last.

    With few tasks that is: who goes on after the very first boundary, and at which points the next
    one takes over. Few points suffice, as most races need one or two orderings only.
    """
    order = rng.sample(range(tasks), tasks)
    points = sorted(
        rng.sample(range(1, max(2, boundaries)), min(depth - 1, max(1, boundaries - 1)))
    )
    switches = [(0, order[0])]
    for number, point in enumerate(points, start=1):
        switches.append((point, order[number % tasks]))
    return tuple(switches)


def without_one(schedule: Schedule) -> Iterator[Schedule]:
    """The schedule without one of its switches."""
    switches = schedule.switches
    for place in range(len(switches)):
        rest = switches[:place] + switches[place + 1 :]
        yield Schedule(schedule.at, schedule.tasks, rest)


def with_one_earlier(schedule: Schedule) -> Iterator[Schedule]:
    """The schedule with one of its switches at an earlier boundary, the first one before others."""
    switches = schedule.switches
    for place, (point, task) in enumerate(switches):
        low = switches[place - 1][0] + 1 if place else 0
        for earlier in range(low, point):
            moved = (*switches[:place], (earlier, task), *switches[place + 1 :])
            yield Schedule(schedule.at, schedule.tasks, moved)


def shifted(schedule: Schedule, removed: Sequence[int]) -> Schedule | None:
    """The schedule for the trace without some operations; None if one of them runs together."""
    together = range(schedule.at, schedule.at + schedule.tasks)
    if any(index in together for index in removed):
        return None
    earlier = sum(index < schedule.at for index in removed)
    return Schedule(schedule.at - earlier, schedule.tasks, schedule.switches)
