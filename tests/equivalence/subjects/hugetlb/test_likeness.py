"""Operations drawn like recordings: their kinds and shapes, with names that are in play."""

from __future__ import annotations

from random import Random

import pytest

from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import PortTier
from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.likeness import LikeRecordings, by_profile
from equivalence.subjects.hugetlb.live import Drawn
from equivalence.subjects.hugetlb.series import HugetlbConventions, stable
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import Op

PROFILES = by_profile(corpus())


@pytest.fixture(scope="module")
def system() -> PortSystem:
    made = PortTier(stable(), HugetlbConventions(), {}).system(10, evidence=False)
    assert isinstance(made, PortSystem)
    return made


def drawn(profile: str, system: PortSystem, traces: int = 12) -> list[tuple[Op, int]]:
    """Operations and what they returned."""
    generator = LikeRecordings(PROFILES[profile])
    found = []
    for number in range(traces):
        rng = Random(f"{profile}/{number}")
        world = generator.world(rng)
        generator.start(world)
        system.boot(world)
        for _ in range(generator.length(rng)):
            op = generator.op(rng)
            outcome = system.apply(op)
            generator.saw(op, outcome)
            found.append((op, outcome.ret))
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_kinds_shapes_and_successes_are_those_of_the_profile(
    profile: str, system: PortSystem
) -> None:
    recorded = {
        (line["op"], frozenset(line["args"])) for one in PROFILES[profile] for line in one.lines
    }
    found = drawn(profile, system)
    shapes = {(op.kind, frozenset(op.args)) for op, _ in found}
    assert shapes <= recorded
    kinds = {line["op"] for one in PROFILES[profile] for line in one.lines}
    assert len({op.kind for op, _ in found}) > len(kinds) / 2
    assert sum(ret == 0 for _, ret in found) > len(found) / 2
    subject = HugetlbSubject()
    for op, _ in found:
        subject.check_op(op)


def test_a_seed_draws_the_same_again(system: PortSystem) -> None:
    assert drawn("mixed", system, 3) == drawn("mixed", system, 3)


def test_a_kind_can_be_asked_for() -> None:
    generator = LikeRecordings(PROFILES["anon"])
    generator.start({})
    rng = Random(0)
    assert generator.op(rng, "spawn").kind == "spawn"
    assert generator.op(rng, "mount").kind == "mount"


def test_every_second_live_trace_is_like_a_recording() -> None:
    lengths = {Drawn(1, number).length for number in range(0, 10, 2)}
    assert lengths == {40}
    assert len({Drawn(1, number).length for number in range(1, 20, 2)}) > 1
    assert set(Drawn(1, 1).world) == {"nr_hugepages", "nr_overcommit_hugepages"}
