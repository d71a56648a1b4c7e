"""Drawn worlds and operations: legal, repeatable, and varied."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.ops import OPS
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.outcome import OK, Outcome
from models.schema.trace import Op, TraceError


def draw(seed: int, count: int = 60) -> list[Op]:
    rng = Random(seed)
    generator = HugetlbGenerator()
    world = generator.world(rng)
    HugetlbSubject().check_world(world)
    generator.start(world)
    ops = []
    for _ in range(count):
        op = generator.op(rng)
        HugetlbSubject().check_op(op)
        generator.saw(op, OK if rng.random() < 0.8 else Outcome(ret=-1, errno="ENOMEM"))
        ops.append(op)
    return ops


def test_every_kind_is_drawn_and_all_are_legal() -> None:
    kinds = Counter(op.kind for seed in range(300) for op in draw(seed))
    assert set(kinds) == set(OPS)
    assert kinds["touch_write"] > kinds["cgroup_rmdir"]


def test_the_same_seed_draws_the_same() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.parametrize("kind", OPS)
def test_a_kind_can_be_asked_for(kind: str) -> None:
    rng = Random(1)
    generator = HugetlbGenerator()
    generator.start(generator.world(rng))
    op = generator.op(rng, kind)
    assert op.kind == kind
    HugetlbSubject().check_op(op)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Op("fly"), "operation 'fly' is unknown"),
        (Op("spawn", {"id": "A", "x": 1}), "spawn: argument 'x' is unknown"),
        (Op("spawn"), "spawn: argument 'id' is missing"),
        (Op("mmap", {"proc": "A", "map": "m1", "type": "odd", "len": 1}), "mmap: type=odd"),
        (Op("spawn", {"id": 3}), "spawn: id=3: expected a name"),
    ],
)
def test_an_illegal_operation_is_named(op: Op, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        HugetlbSubject().check_op(op)
