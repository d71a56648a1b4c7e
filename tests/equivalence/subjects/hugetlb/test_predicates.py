"""The changed conditions: what the old and the new expression answer on every input."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

import pytest

from equivalence import gate
from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import PortTier
from equivalence.campaign import Config
from equivalence.reaching import differing
from equivalence.subject import Predicate
from equivalence.subjects.hugetlb.corpus import ARCHIVES, unpack
from equivalence.subjects.hugetlb.examples import recorded, written
from equivalence.subjects.hugetlb.predicates import (
    COUNTED,
    DEBIT,
    NOT_OVERRIDDEN,
    REFUSE,
    SHOULD_USE,
    has_reserves,
)
from equivalence.subjects.hugetlb.series import HugetlbConventions, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import Scalar, Trace, parse_trace

ALL = (REFUSE, DEBIT, SHOULD_USE, NOT_OVERRIDDEN, COUNTED)


@pytest.mark.parametrize("predicate", ALL, ids=lambda p: p.name)
def test_a_predicate_names_every_input_once(predicate: Predicate) -> None:
    assert len(predicate.names) == len(predicate.inputs)
    assert len(set(predicate.domain)) == 2 ** len(predicate.names)
    assert set(predicate.unreachable) < set(predicate.domain)


@pytest.mark.parametrize("predicate", ALL, ids=lambda p: p.name)
def test_what_differs_is_one_value_and_no_decision(predicate: Predicate) -> None:
    # gbl_chg is no longer 1 where reserves are avoided and the subpool has the page.
    expected = [(COUNTED.name, (1, 0))] if predicate is COUNTED else []
    assert list(differing([predicate])) == expected


class Written(HugetlbSubject):
    """Without the recordings, which take long."""

    def examples(self) -> Iterable[Trace]:
        return written()


def test_the_input_that_differs_is_reached_by_a_minimal_trace() -> None:
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    pair = gate.run(Config(ops=200, against="previous"), Written(), tier).pairs[-1]
    (counted,) = (p for p in pair.evidence.predicates if p.name == COUNTED.name)
    assert (counted.equal_everywhere, counted.differing, counted.differing_reached) == (False, 1, 1)
    (row,) = (row for row in counted.rows if row.old != row.new)
    assert row.inputs == (1, 0)
    assert row.before_count > 0
    assert row.after_count > 0
    assert row.reached_by is not None
    trace = parse_trace(row.reached_by)
    system = tier.system(3)
    assert isinstance(system, PortSystem)
    system.boot(trace.world)
    for op in trace.ops[:-1]:
        system.apply(op)
    assert row.inputs not in system.rows().get(COUNTED.name, {})
    system.apply(trace.ops[-1])
    assert row.inputs in system.rows()[COUNTED.name]
    assert len(trace.ops) <= 6
    others = [p for p in pair.evidence.predicates if p is not counted]
    assert all(p.equal_everywhere for p in others)
    assert others


def test_the_base_has_reserves_for_shared_mappings_and_owners() -> None:
    # noreserve, mayshare, owner, chg; by hand from vma_has_reserves().
    true_rows = {
        (1, 1, 0, 0),
        (1, 1, 1, 0),
        (0, 1, 0, 0),
        (0, 1, 1, 0),
        (0, 0, 1, 0),
    }
    for noreserve in (0, 1):
        for mayshare in (0, 1):
            for owner in (0, 1):
                for chg in (0, 1):
                    row = (noreserve, mayshare, owner, chg)
                    assert has_reserves(*row) == (row in true_rows)


def test_an_input_is_reached_in_situ_or_said_to_be_unreachable() -> None:
    # An owner of a private mapping who breaks copy on write, covered by the subpool's reserve:
    # reached only once patch 3 leaves the subpool's answer alone.
    row = (0, 0, 1, 1, 0)
    assert row in SHOULD_USE.unreachable
    assert row not in NOT_OVERRIDDEN.unreachable


def test_the_written_examples_reach_what_a_search_meets_rarely() -> None:
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    rows: dict[str, set[tuple[Scalar, ...]]] = {}
    for step in (0, 3):
        system = tier.system(step)
        assert isinstance(system, PortSystem)
        for trace in written():
            system.boot(trace.world)
            for op in trace.ops:
                system.apply(op)
        for name, reached in system.rows().items():
            rows.setdefault(name, set()).update(reached)
    avoiding = {row for row in NOT_OVERRIDDEN.domain if row[3]} - set(NOT_OVERRIDDEN.unreachable)
    assert avoiding <= rows[NOT_OVERRIDDEN.name]
    refusing = {row for row in REFUSE.domain if row[3]} - set(REFUSE.unreachable)
    assert refusing <= rows[REFUSE.name]


def test_the_recordings_of_the_product_are_well_formed() -> None:
    folder = files("equivalence.subjects.hugetlb.corpus")
    found = [
        recording
        for archive in ARCHIVES
        for recording in unpack((folder / archive).read_bytes(), archive)
    ]
    assert len(found) == len(recorded()) == 467
    subject = HugetlbSubject()
    for trace in subject.examples():
        subject.check_world(trace.world)
        for op in trace.ops:
            subject.check_op(op)
