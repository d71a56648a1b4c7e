"""Every planted bug is found by the public command and shrunk to exactly the expected trace."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from equivalence.backends.port_tier import PortTier
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.series import same_code
from equivalence.subject import Relation
from equivalence.subjects.hugetlb.series import HugetlbConventions, base
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import Trace, parse_trace
from tests.quality.command import found, pair, run
from tests.quality.planted import CORE, EFFECTS, PLANTED, SURFACE
from tests.quality.recipe import Planted

SUBJECT = HugetlbSubject()
#: What the profile quick promised when these bugs were planted.
OPS = "20000"
#: Of the surface, what every change is tested with: failures, userfaultfd, cgroups, nodes, guests.
SAMPLE = ("region_split_enomem", "uffd_copy", "cgroup_reparent", "surplus_node", "guest")

NAMES = [one.name for one in PLANTED]
EXPECTED = {one.name: one for one in PLANTED}


def lines(one: Planted) -> tuple[str, ...]:
    return tuple(line.strip() for line in one.trace.strip().splitlines())


def trace(one: Planted) -> Trace:
    return parse_trace("\n".join(["equivcheck-trace/1 hugetlb", *lines(one)]), one.name)


@cache
def lockstep(name: str) -> Lockstep:
    tier = PortTier(EXPECTED[name].series(), HugetlbConventions(), {})
    relation: Relation = "effects" if EXPECTED[name] in EFFECTS else "state"
    one, other = (tier.system(k, effects=relation == "effects", evidence=False) for k in (0, 1))
    return Lockstep(one, other, oracle_for(one, other, relation, SUBJECT.user_sections))


def test_the_bugs_are_as_many_as_they_should_be() -> None:
    assert len(CORE) == 12
    assert len(SURFACE) >= 25
    assert len({one.name for one in PLANTED}) == len(PLANTED)
    assert len({one.function for one in PLANTED}) >= 35


@pytest.mark.parametrize("name", NAMES)
def test_a_bug_is_other_code(name: str) -> None:
    one = EXPECTED[name]
    (edited,) = one.patch().replace.values()
    assert not same_code(base().table[one.function], edited)


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_shows_the_bug_at_its_end_and_not_without_any_of_its_operations(
    name: str,
) -> None:
    one = EXPECTED[name]
    whole = trace(one)
    SUBJECT.check_world(whole.world)
    for op in whole.ops:
        SUBJECT.check_op(op)
    divergence = lockstep(name).run(whole)
    assert divergence is not None
    assert divergence.op_index == len(whole.ops) - 1
    assert divergence.first.field == one.field
    for index in range(len(whole.ops)):
        shorter = whole.with_ops(whole.ops[:index] + whole.ops[index + 1 :])
        other = lockstep(name).run(shorter)
        assert other is None or other.identity(shorter) != divergence.identity(whole)


def check_found(name: str, out: Path) -> None:
    options = ("--relation", "effects") if EXPECTED[name] in EFFECTS else ()
    done = run(f"tests.quality.planted:{name}", out, "--ops", OPS, *options)
    one = pair(done.result, 1)
    assert found(one) == (EXPECTED[name].field, lines(EXPECTED[name]))
    assert one.verdict.value == "diverged"
    assert done.status == 1
    assert {p.verdict.value for p in done.result.pairs if p.against == "self"} == {"no-divergence"}


@pytest.mark.parametrize("name", [*(one.name for one in CORE), *SAMPLE])
def test_a_bug_is_found_and_its_trace_made_minimal(name: str, tmp_path: Path) -> None:
    check_found(name, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", [one.name for one in (*SURFACE, *EFFECTS) if one.name not in SAMPLE]
)
def test_every_other_bug_is_found_and_its_trace_made_minimal(name: str, tmp_path: Path) -> None:
    check_found(name, tmp_path)
