"""The second built-in series: what each step changes is shown, or run through and found equal."""

from __future__ import annotations

import pytest

from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import PortTier
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.search import Findings, Session, replay
from equivalence.subject import Predicate
from equivalence.subjects.hugetlb import stable_predicates
from equivalence.subjects.hugetlb.examples import written
from equivalence.subjects.hugetlb.series import HugetlbConventions, stable
from equivalence.subjects.hugetlb.stable_predicates import CLEARS_WP, LOCKS, OWNERS_COPY
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import Trace, parse_trace

PREDICATES = [p for p in vars(stable_predicates).values() if isinstance(p, Predicate)]
SERIES = stable()
DECLARED = [n for n, patch in enumerate(SERIES.patches, start=1) if patch.declares_change]
SAME = [n for n in range(1, len(SERIES.patches) + 1) if n not in DECLARED]

#: Where unmapping gives a reservation back though the child still has the page.
OWNER_UNMAPS = """equivcheck-trace/1 hugetlb
world nr_hugepages=1
spawn id=A
mmap proc=A map=m1 type=private len=1 populate=1
fork proc=A child=B
munmap proc=A map=m1
"""


def name_of(step: int) -> str:
    return SERIES.patches[step - 1].name


def run(step: int, *traces: Trace) -> tuple[PortSystem, PortSystem, Findings]:
    """The examples on a step and the one before it."""
    tier = PortTier(SERIES, HugetlbConventions(), {})
    before, after = tier.system(step - 1), tier.system(step)
    assert isinstance(before, PortSystem)
    assert isinstance(after, PortSystem)
    subject = HugetlbSubject()
    lockstep = Lockstep(before, after, oracle_for(before, after, "state", subject.user_sections))
    session = Session(subject, lockstep)
    replay(session, (*written(), *traces))
    return before, after, session.close()


@pytest.mark.parametrize("predicate", PREDICATES, ids=lambda p: p.name)
def test_a_predicate_names_every_input_once(predicate: Predicate) -> None:
    assert len(predicate.names) == len(predicate.inputs)
    assert len(set(predicate.domain)) == 2 ** len(predicate.names)
    assert set(predicate.unreachable) < set(predicate.domain)
    for row in predicate.domain:
        assert predicate.old(*row) in (True, False)
        assert predicate.new(*row) in (True, False)


@pytest.mark.parametrize("predicate", [OWNERS_COPY, CLEARS_WP], ids=lambda p: p.name)
def test_old_and_new_agree_wherever_they_can_be_reached(predicate: Predicate) -> None:
    reachable = [row for row in predicate.domain if row not in predicate.unreachable]
    assert reachable
    assert all(predicate.old(*row) == predicate.new(*row) for row in reachable)


def test_fewer_folios_are_locked_than_before() -> None:
    assert [row for row in LOCKS.domain if LOCKS.new(*row) and not LOCKS.old(*row)] == []
    # A write to a read-only entry of a shared mapping locks the page no more.
    assert LOCKS.old(1, 0, 1, 0)
    assert not LOCKS.new(1, 0, 1, 0)


@pytest.mark.parametrize("step", SAME, ids=name_of)
def test_a_step_that_declares_no_change_is_run_through(step: int) -> None:
    before, after, found = run(step)
    assert found.divergence is None
    assert found.fault is None
    changes = PortTier(SERIES, HugetlbConventions(), {}).changes(step - 1, step)
    assert changes.undeclared == ()
    for change in changes.functions:
        for system, required in ((before, change.before), (after, change.after)):
            reached = system.covered().get(change.function, frozenset())
            assert required - reached - change.reasons.keys() == set()
            assert required & reached & change.reasons.keys() == set()
    for predicate in changes.predicates:
        rows = {*before.rows()[predicate.name], *after.rows()[predicate.name]}
        assert rows.isdisjoint(predicate.unreachable)
        assert rows | predicate.unreachable.keys() >= set(predicate.domain) - {
            # Left to the search, which draws it in its first traces.
            (0, 1),
        }


@pytest.mark.parametrize("step", DECLARED, ids=name_of)
def test_a_step_that_declares_a_change_shows_it(step: int) -> None:
    _, _, found = run(step, parse_trace(OWNER_UNMAPS))
    assert found.divergence is not None
