"""Several operations in one call: the same findings as one by one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random
from typing import Any

import pytest

from equivalence import ahead, machine
from equivalence.ahead import AHEAD, Drawer
from equivalence.control import ControlSession
from equivalence.driver import FaultError, Lockstep
from equivalence.oracle import oracle_for
from equivalence.sampler import sample
from equivalence.search import Session, replay
from equivalence.subject import Ahead, Batch, Relation, WorldError
from models.schema.outcome import OK, Outcome
from models.schema.trace import Args, Op, Trace
from tests.toy import Rule, Toy, ToyGenerator, ToySubject, greedy, plenty


class BatchRan:
    """Outcomes and states, written down while they ran."""

    def __init__(
        self, outcomes: Sequence[Outcome], digests: list[dict[Relation, Hashable]]
    ) -> None:
        self.outcomes = tuple(outcomes)
        self.digests = digests

    def states(self, relation: Relation) -> tuple[Hashable, ...]:
        return tuple(one[relation] for one in self.digests)

    def agrees(self, other: Any, relation: Relation) -> bool:
        same = self.states(relation) == other.states(relation)
        return same and bool(self.outcomes == other.outcomes)


class BatchToy(Toy):
    """A toy that runs several operations in one call; counts its calls."""

    calls = 0
    broken = ""
    sent: list[Op] | None = None

    def send(self, ops: Sequence[Op], world: Args | None = None) -> None:
        if self.broken == "send":
            raise RuntimeError("no worker")
        self.calls += 1
        if world is not None:
            self.boot(world)
        self.sent = list(ops)

    def receive(self) -> BatchRan:
        if self.broken == "receive":
            raise RuntimeError("no answer")
        outcomes: list[Outcome] = []
        digests: list[dict[Relation, Hashable]] = []
        for op in self.sent or ():
            outcomes.append(self.apply(op))
            digests.append({"user": self.digest("user"), "state": self.digest("state")})
            if outcomes[-1].fatal:
                break
        return BatchRan(outcomes, digests)


class Forgetful(BatchToy):
    """Gives another result the second time it boots."""

    boots = 0

    def boot(self, world: Args) -> None:
        super().boot(world)
        self.boots += 1
        self.free += self.boots == 2


class GoingBack(ToyGenerator):
    """A generator that can go back; knows what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Op, Outcome]] = []

    def start(self, world: Args) -> None:
        self.told = []

    def saw(self, op: Op, outcome: Outcome) -> None:
        self.told.append((op, outcome))

    def mark(self) -> object:
        return list(self.told)

    def back(self, mark: Any) -> None:
        self.told = mark


def lockstep(rule: Rule = plenty, kind: type[BatchToy] = BatchToy) -> Lockstep:
    before, after = kind(plenty), BatchToy(rule)
    return Lockstep(before, after, oracle_for(before, after, "state", frozenset({"pool"})))


def session(rule: Rule = plenty, kind: type[BatchToy] = BatchToy) -> Session:
    return Session(ToySubject(), lockstep(rule, kind))


def test_the_toys_are_what_the_protocols_ask_for() -> None:
    assert isinstance(BatchToy(plenty), Batch)
    assert not isinstance(Toy(plenty), Batch)
    assert isinstance(GoingBack(), Ahead)
    assert lockstep().in_batches


def test_agreement_takes_few_calls() -> None:
    one = session()
    sample(one, GoingBack(), Random(3), 2000)
    found = one.close()
    toy = one.lockstep.before
    assert isinstance(toy, BatchToy)
    assert found.ops == 2000
    assert (found.divergence, found.fault) == (None, None)
    # the first trace of a search is looked at after every operation
    assert toy.calls < 2000 / AHEAD * 1.5 + found.traces
    assert sum(found.outcomes.values()) == 2000
    assert "true" in found.before.covered["rule"]
    assert any(name.startswith("warning") for name in found.defects)


@pytest.mark.parametrize("generator", [GoingBack, ToyGenerator])
def test_a_divergence_is_that_of_one_by_one(generator: type[ToyGenerator]) -> None:
    """Where the trace ends does not depend on how many operations ran in one call."""
    one = session(greedy)
    sample(one, generator(), Random(3), 4000)
    found = one.close()
    assert found.divergence is not None
    trace, divergence = found.divergence
    assert divergence.op_index == len(trace.ops) - 1
    plain = Lockstep(Toy(plenty), Toy(greedy), one.lockstep.oracle)
    assert plain.run(trace) == divergence
    assert one.lockstep.run(trace) == divergence


@pytest.mark.parametrize("many", [AHEAD, 1000])
def test_hypothesis_draws_ahead_too(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left at a trace's end runs then."""
    monkeypatch.setattr(ahead, "AHEAD", many)
    one = session(greedy)
    machine.search(one, GoingBack(), 1, 4000)
    found = one.close()
    assert found.divergence is not None
    trace, divergence = found.divergence
    assert divergence.op_index == len(trace.ops) - 1
    same = session()
    machine.search(same, GoingBack(), 1, 1000)
    assert not same.findings.over
    assert same.findings.ops >= 1000


def test_the_generator_is_told_what_happened() -> None:
    one, generator = session(), GoingBack()
    assert one.begin({"pages": 0}, thorough=False)
    generator.start({})
    drawer = Drawer(one, generator)
    for number in range(3):
        assert drawer.draw(Random(number), "take")
    assert [outcome for _, outcome in generator.told] == [OK] * 3
    assert drawer.run([Op("give", {"who": "A"})])
    plain = Toy(plenty)
    plain.boot({"pages": 0})
    assert generator.told == [(op, plain.apply(op)) for op in one.trace().ops]
    assert len(generator.told) == 4
    assert generator.told[0][1].errno == "ENOMEM"
    one.end()


FATAL = (Op("grow", {"n": 4}), Op("grow", {"n": 4}), Op("grow", {"n": 4}), Op("grow", {"n": 1}))


def test_a_fatal_outcome_ends_the_trace() -> None:
    one = session()
    replay(one, [Trace("toy", {"pages": 3}, FATAL)], thorough=False)
    assert one.findings.ops == 3
    assert one.findings.outcomes["grow", "bug"] == 1
    assert not one.going
    assert one.lockstep.index == 3


def test_one_by_one_where_every_state_is_looked_at() -> None:
    one = session()
    replay(one, [Trace("toy", {"pages": 3}, FATAL)], thorough=True)
    assert one.findings.ops == 3
    toy = one.lockstep.before
    assert isinstance(toy, BatchToy)
    assert toy.calls == 0
    diverging = session(greedy)
    take = Op("take", {"who": "A", "n": 3})
    replay(diverging, [Trace("toy", {"pages": 2}, (take, take))], thorough=True)
    assert diverging.findings.ops == 1
    assert diverging.failed


@pytest.mark.parametrize("where", ["send", "receive"])
def test_a_side_that_breaks_is_a_fault(where: str) -> None:
    one = session()
    assert one.begin({"pages": 3}, thorough=False)
    assert isinstance(one.lockstep.after, BatchToy)
    one.lockstep.after.broken = where
    assert one.steps([Op("give", {"who": "A"})]) == ()
    one.end()
    assert one.findings.fault is not None
    assert "the system after the patch raised RuntimeError" in one.findings.fault[1]
    with pytest.raises(FaultError):
        one.lockstep.run(Trace("toy", {"pages": 3}))


def test_a_trace_without_operations() -> None:
    assert lockstep().run(Trace("toy", {"pages": 3})) is None


def test_a_world_that_cannot_boot() -> None:
    with pytest.raises(WorldError):
        lockstep().run(Trace("toy", {"pages": -1}))


def test_a_fault_in_a_closer_look() -> None:
    """The trace is run again, and now a side breaks."""
    one = session()
    take = Op("take", {"who": "A", "n": 1})
    assert one.begin({"pages": 3}, thorough=False)
    assert one.steps([take])
    after = one.lockstep.after
    assert isinstance(after, BatchToy)

    def grudging(ops: Sequence[Op], world: Args | None = None) -> None:
        if world is not None:
            raise RuntimeError("never again")
        after.free += 1
        BatchToy.send(after, ops)

    after.send = grudging  # type: ignore[method-assign]
    assert one.steps([take]) == ()
    assert one.findings.fault is not None


def test_a_divergence_that_only_a_closer_look_sees() -> None:
    """Something differs already when the trace is run again: that is told."""
    one = session()
    take = Op("take", {"who": "A", "n": 1})
    assert one.begin({"pages": 3}, thorough=False)
    assert one.steps([take])
    after = one.lockstep.after
    assert isinstance(after, BatchToy)
    after.free += 1
    after.rule = lambda free, n: False
    assert one.steps([take]) == ()
    assert one.failed
    assert one.findings.divergence is not None


def test_the_control_runs_every_trace_again() -> None:
    control = ControlSession(ToySubject(), lockstep())
    sample(control, GoingBack(), Random(3), 600)
    found = control.close()
    assert (found.divergence, found.fault, found.ops) == (None, None, 600)
    traces = [Trace("toy", {"pages": 1}, (Op("take", {"who": "A", "n": 2}),))]
    flaky = ControlSession(ToySubject(), lockstep(kind=Forgetful))
    replay(flaky, traces, thorough=False)
    fault = flaky.close().fault
    assert fault is not None
    assert "two results on one system, at op 0 (take who=A n=2)" in fault[1]
