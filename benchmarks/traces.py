"""Traces to measure with, drawn from a seed as the sampler draws them."""

from __future__ import annotations

from itertools import product
from random import Random

from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.sampler import draw_length
from equivalence.subject import Subject, System, Tier
from models.schema.trace import Op, Trace


def lockstep_of(subject: Subject, tier: Tier) -> Lockstep:
    """The base and the last step side by side, under the relation ``state``."""
    before, after = tier.system(0), tier.system(len(tier.patches))
    oracle = oracle_for(before, after, "state", subject.user_sections, subject.excluded)
    return Lockstep(before, after, oracle)


def drawn(subject: Subject, system: System, ops: int, seed: int = 0) -> list[Trace]:
    """Traces of ``ops`` operations together; none has an operation behind a fatal one."""
    rng = Random(seed)
    traces: list[Trace] = []
    left = ops
    while left > 0:
        trace = long_trace(subject, system, min(left, draw_length(rng)), rng, patient=False)
        traces.append(trace)
        left -= max(1, len(trace.ops))
    return traces


def long_trace(
    subject: Subject, system: System, length: int, rng: Random, *, patient: bool = True
) -> Trace:
    """One trace of ``length`` operations; if ``patient``, a fatal operation is taken back."""
    generator = subject.generator()
    world = generator.world(rng)
    system.boot(world)
    generator.start(world)
    ops: list[Op] = []
    while len(ops) < length:
        op = generator.op(rng)
        outcome = system.apply(op)
        if outcome.fatal:
            if not patient:
                return Trace(subject.name, world, (*ops, op))
            system.boot(world)
            for earlier in ops:
                system.apply(earlier)
            continue
        ops.append(op)
        generator.saw(op, outcome)
    return Trace(subject.name, world, tuple(ops))


#: Operations that let go of what a trace has made, in the order in which they can.
_LEAVING = ("exit", "guest_destroy", "shm_rmid", "unlink", "umount", "cgroup_rmdir")


def leaving(subject: Subject) -> list[Op]:
    """Operations after which nothing that a trace made is there, whatever it made."""
    return [
        Op(kind, dict(zip(keys, values, strict=True)))
        for kind in _LEAVING
        if kind in subject.ops
        for keys in [sorted(subject.ops[kind].required)]
        for values in product(*(subject.ops[kind].domains[key] for key in keys))
    ]
