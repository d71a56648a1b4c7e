"""The bulk search: traces drawn from a seed, as fast as the code under check allows.

Two thirds of the traces are drawn afresh. The others start from a trace that reached something
new, or that a user kept, with a few operations dropped, doubled, swapped, or given another
argument, and go on from there. Half of these start near what has not run yet: from a trace that
reached something new in a function of which something is still missing, and go on with operations
of its kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from equivalence.ahead import Drawer
from equivalence.search import Session
from equivalence.subject import Generator, OpSpec
from models.schema.trace import Op, Scalar, Trace

FRESH: Final = 0.65
#: Share of the varied traces that start near what is missing, and of the operations that they go on
#: with that are of the same kinds.
NEAR: Final = 0.5
ALIKE: Final = 0.5
#: Shares of all traces, and their lengths in operations: short ones find bugs that need an exact
#: fit, the long tail finds what only builds up.
LENGTHS: Final = ((0.55, 10, 40), (0.95, 40, 80), (1.0, 80, 300))
MAX_CORPUS: Final = 256
MAX_EDITS: Final = 4


def sample(
    session: Session,
    generator: Generator,
    rng: Random,
    budget: int,
    corpus: Sequence[Trace] = (),
    near: Sequence[Trace] = (),
) -> None:
    """Run drawn traces until ``budget`` operations are spent or the search is over.

    ``corpus`` are traces to vary, and ``near`` those of them near what has not run yet.

    The last trace is cut off at the budget, so that the number of operations is exact.
    """
    findings = session.findings
    seeds = list(corpus[:MAX_CORPUS])
    specs = session.subject.ops
    while findings.ops < budget and not findings.over:
        if session.stop():
            findings.truncated = True
            return
        left = min(draw_length(rng), budget - findings.ops)
        known = len(findings.novel)
        planned: list[Op] = []
        kinds: tuple[str, ...] = ()
        if seeds and rng.random() >= FRESH:
            steered = bool(near) and rng.random() < NEAR
            chosen = near if steered else seeds
            seed = chosen[int(rng.random() * len(chosen))]
            world = seed.world
            kinds = tuple(op.kind for op in seed.ops) if steered else ()
            planned = mutate(rng, list(seed.ops), specs)[:left]
        else:
            world = generator.world(rng)
        if session.begin(world):
            generator.start(world)
            _run(session, generator, rng, planned, left, kinds)
        session.end()
        if len(findings.novel) > known and len(seeds) < MAX_CORPUS:
            seeds.append(findings.novel[-1].trace)


def _run(
    session: Session,
    generator: Generator,
    rng: Random,
    planned: Sequence[Op],
    length: int,
    kinds: Sequence[str],
) -> None:
    if session.ahead:
        drawer = Drawer(session, generator)
        going = drawer.run(planned)
        for _ in range(length - len(planned)):
            if not going:
                return
            going = drawer.draw(rng, _alike(rng, kinds))
        drawer.run()
        return
    step, saw, draw, lockstep = session.step, generator.saw, generator.op, session.lockstep
    for op in planned:
        if not step(op):
            return
        saw(op, lockstep.outcome)
    for _ in range(length - len(planned)):
        op = draw(rng, _alike(rng, kinds)) if kinds else draw(rng)
        if not step(op):
            return
        saw(op, lockstep.outcome)


def _alike(rng: Random, kinds: Sequence[str]) -> str | None:
    """One of the kinds, or None: any."""
    return kinds[int(rng.random() * len(kinds))] if kinds and rng.random() < ALIKE else None


def draw_length(rng: Random) -> int:
    """How many operations a trace gets, as :data:`LENGTHS` says."""
    share = rng.random()
    low, high = next((low, high) for limit, low, high in LENGTHS if share < limit)
    return low + int(rng.random() * (high - low))


def mutate(rng: Random, ops: list[Op], specs: Mapping[str, OpSpec]) -> list[Op]:
    """The operations with one to :data:`MAX_EDITS` random edits; the list given is used up."""
    for _ in range(1 + int(rng.random() * MAX_EDITS)):
        if not ops:
            return ops
        place = int(rng.random() * len(ops))
        choice = rng.random()
        if choice < 0.25:
            del ops[place]
        elif choice < 0.45:
            ops.insert(int(rng.random() * (len(ops) + 1)), ops[place])
        elif choice < 0.65:
            other = int(rng.random() * len(ops))
            ops[place], ops[other] = ops[other], ops[place]
        else:
            ops[place] = _other_argument(rng, ops[place], specs[ops[place].kind])
    return ops


def _other_argument(rng: Random, op: Op, spec: OpSpec) -> Op:
    keys = list(spec.domains)
    if not keys:
        return op
    key = keys[int(rng.random() * len(keys))]
    args: dict[str, Scalar] = dict(op.args)
    if key in args and key not in spec.required and rng.random() < 0.3:
        del args[key]
    else:
        domain = spec.domains[key]
        args[key] = domain[int(rng.random() * len(domain))]
    return Op(op.kind, args)
