"""Schedules as values: text, enumeration, draws, and what is tried to make one simpler."""

from __future__ import annotations

from random import Random

import pytest

from equivalence.schedule import (
    MAX_SWITCHES,
    Schedule,
    enumerate_switches,
    parse_schedule,
    pct_switches,
    random_switches,
    shifted,
    with_one_earlier,
    without_one,
)
from models.schema.trace import Op, Trace, TraceError, format_trace, parse_trace


@pytest.mark.parametrize(
    "schedule",
    [Schedule(0, 2), Schedule(3, 3, ((4, 2),)), Schedule(12, 2, ((0, 1), (9, 0), (17, 1)))],
    ids=str,
)
def test_text_and_trace_hold_a_schedule_unchanged(schedule: Schedule) -> None:
    assert parse_schedule(str(schedule)) == schedule
    trace = Trace("toy", {"pages": 1}, (Op("give", {"proc": "A"}),), str(schedule))
    assert parse_trace(format_trace(trace)) == trace


@pytest.mark.parametrize(
    "text", ["", "3", "3-2", "3-4/", "3-2/1", "3-2/5.0,4.1", "3-2/1.2", "a-2/"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(TraceError, match="schedule"):
        parse_schedule(text)


def test_enumeration_has_every_choice_once_fewer_switches_first() -> None:
    found = list(enumerate_switches(3, 2, 2))
    assert len(found) == len(set(found)) == 1 + 3 * 2 + 3 * 4
    assert found[0] == ()
    assert [len(switches) for switches in found] == sorted(len(switches) for switches in found)


def test_draws_are_schedules_that_a_trace_can_hold() -> None:
    rng = Random(1)
    assert random_switches(rng, 0, 2) == ()
    for boundaries in (1, 2, 5, 99_000):
        for tasks in (2, 3):
            for switches in (
                random_switches(rng, boundaries, tasks),
                pct_switches(rng, boundaries, tasks, 2),
                pct_switches(rng, boundaries, tasks, 3),
            ):
                assert len(switches) <= MAX_SWITCHES
                schedule = Schedule(999_999, tasks, switches)
                assert parse_schedule(str(schedule)) == schedule
                trace = Trace("toy", {}, (), str(schedule))
                assert parse_trace(format_trace(trace)) == trace


def test_simpler_schedules_have_fewer_or_earlier_switches() -> None:
    schedule = Schedule(1, 2, ((1, 1), (3, 0)))
    assert [str(s) for s in without_one(schedule)] == ["1-2/3.0", "1-2/1.1"]
    assert [str(s) for s in with_one_earlier(schedule)] == ["1-2/0.1,3.0", "1-2/1.1,2.0"]


def test_removing_operations_moves_what_runs_together() -> None:
    schedule = Schedule(3, 2, ((1, 1),))
    assert shifted(schedule, [0, 1]) == Schedule(1, 2, ((1, 1),))
    assert shifted(schedule, [5]) == schedule
    assert shifted(schedule, [4]) is None
