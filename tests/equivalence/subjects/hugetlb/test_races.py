"""Planted races are found, made minimal and replayed; the built-in series has none that we find."""

from __future__ import annotations

from random import Random

import pytest

import legacy.hugetlb
import models.hugetlb.accounting
from equivalence import gate
from equivalence.backends.port_tier import PortTier
from equivalence.campaign import Config
from equivalence.driver import Lockstep
from equivalence.edit import edit
from equivalence.jobs import Job, Stop, Worker
from equivalence.oracle import oracle_for
from equivalence.schedule import parse_schedule
from equivalence.series import Patch, Series
from equivalence.subjects.hugetlb.series import HugetlbConventions, base, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.result import Verdict
from models.schema.trace import parse_trace


def moved_check() -> Patch:
    """Whether a page is free to be taken is asked before the lock is taken, and not again."""
    alloc = edit(
        legacy.hugetlb.alloc_hugetlb_folio,
        "        spin_lock_irq(hugetlb_lock)\n"
        "        folio = dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, gbl_chg)\n",
        "        free = available_huge_pages(h)\n"
        "        spin_lock_irq(hugetlb_lock)\n"
        "        folio = None\n"
        "        if vma_has_reserves(vma, gbl_chg) or free:\n"
        "            folio = dequeue_hugetlb_folio_vma(h, vma, addr, avoid_reserve, gbl_chg)\n",
    )
    dequeue = edit(
        legacy.hugetlb.dequeue_hugetlb_folio_vma,
        "    if not vma_has_reserves(vma, chg) and not available_huge_pages(h):\n"
        "        return None\n",
        "",
    )
    return Patch(
        "moved",
        "Ask before the lock",
        replace={"alloc_hugetlb_folio": alloc, "dequeue_hugetlb_folio_vma": dequeue},
    )


def kept_value() -> Patch:
    """The reserved count is read before the lock is taken, and written back changed under it."""
    acct = edit(
        models.hugetlb.accounting.hugetlb_acct_memory,
        "    spin_lock_irq(hugetlb_lock)\n",
        "    known = h.resv_huge_pages\n"
        "    spin_lock_irq(hugetlb_lock)\n"
        "    h.resv_huge_pages = known\n",
    )
    return Patch("kept", "Read before the lock", replace={"hugetlb_acct_memory": acct})


def tier_of(patch: Patch) -> PortTier:
    series = Series("race", "A race", base(), (patch,))
    return PortTier(series, HugetlbConventions(), {})


@pytest.mark.parametrize("patch", [moved_check(), kept_value()], ids=lambda p: p.name)
def test_a_planted_race_is_found_made_minimal_and_replayed(patch: Patch) -> None:
    tier = tier_of(patch)
    alone = gate.run(Config(ops=2_000, against="base"), HugetlbSubject(), tier).pairs[-1]
    assert alone.verdict is not Verdict.DIVERGED
    config = Config(ops=60_000, against="base", tasks=2)
    result = gate.run(config, HugetlbSubject(), tier)
    assert result.limits.tasks == 2
    assert "lock boundaries" in result.limits.interleaving
    pair = result.pairs[-1]
    assert pair.verdict is Verdict.DIVERGED
    assert pair.counterexample is not None
    trace = parse_trace(pair.counterexample.trace)
    schedule = parse_schedule(trace.schedule)
    assert len(schedule.switches) == 1
    assert pair.counterexample.ops <= 8
    before, after = (tier.system(k, evidence=False) for k in (0, 1))
    oracle = oracle_for(before, after, "state", HugetlbSubject().user_sections)
    for _ in range(2):
        divergence = Lockstep(before, after, oracle).run(trace)
        assert divergence is not None
        assert divergence.first.field == pair.counterexample.field


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
        scheduled = trace.with_ops(trace.ops)
        scheduled = type(trace)(trace.subject, trace.world, trace.ops, schedule=f"3-2/{switches}")
        assert lockstep.run(scheduled) is None
        ends.add(lockstep.outcome.errno)
    assert ends == {None, "ENOMEM"}
    assert Random(0).random() != 1
