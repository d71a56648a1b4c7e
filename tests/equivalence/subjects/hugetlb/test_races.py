"""Planted races are found, made minimal and replayed; the built-in series has none that we find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from equivalence.backends.port_tier import PortTier
from equivalence.explain import shrink_divergence
from equivalence.jobs import Job, Stop, Worker
from equivalence.schedule import parse_schedule
from equivalence.series import Series
from equivalence.subjects.hugetlb.series import HugetlbConventions, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import parse_trace
from tests.quality import races


@pytest.mark.parametrize(
    "series", [races.moved_check, races.kept_value], ids=lambda series: series.patches[0].name
)
def test_a_planted_race_is_found_made_minimal_and_replayed(series: Series) -> None:
    tier, subject = PortTier(series, HugetlbConventions(), {}), HugetlbSubject()
    worker = Worker(subject, tier, "state", Stop())
    found = worker.run(Job("tasks", 0, 1, seed=0, ops=20_000, tasks=2))
    assert found.divergence is not None
    lockstep = worker.lockstep(0, 1)
    small = shrink_divergence(lockstep, *found.divergence, subject, lambda: False)
    assert len(small.trace.ops) <= 10
    schedule = parse_schedule(small.trace.schedule)
    # One operation after the other the two sides agree: it takes the interleaving.
    alone = replace(small.trace, schedule=str(replace(schedule, switches=())))
    assert lockstep.run(alone) is None
    fields = {str(run and run.first.field) for run in map(lockstep.run, [small.trace] * 3)}
    assert fields == {found.divergence[1].first.field}


def test_the_built_in_series_agrees_under_two_and_three_tasks() -> None:
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    worker = Worker(HugetlbSubject(), tier, "state", Stop())
    for tasks in (2, 3):
        found = worker.run(Job("tasks", 0, 3, seed=tasks, ops=4_000, tasks=tasks))
        assert found.ops >= 4_000
        assert not found.over, found


def test_reservations_and_faults_of_two_tasks_pass_boundaries_in_either_order() -> None:
    """A control of the scheduler itself: both orders of two operations are reached."""
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    worker = Worker(HugetlbSubject(), tier, "state", Stop())
    lockstep = worker.lockstep(0, 3)
    trace = parse_trace(
        "equivcheck-trace/1 hugetlb\nworld nodes=1 nr_hugepages=1\nspawn id=A\nspawn id=B\n"
        "mmap proc=A map=m1 type=private len=1 noreserve=1\n"
        "touch_write proc=A map=m1 page=0\nmmap proc=B map=m2 type=private len=1\n"
    )
    ends = set()
    for switches in ("", "0.1"):
        scheduled = replace(trace, schedule=f"3-2/{switches}")
        assert lockstep.run(scheduled) is None
        ends.add(lockstep.outcome.errno)
    assert ends == {None, "ENOMEM"}
