from collections.abc import Hashable
from itertools import count
from random import Random

from equivalence.control import ControlSession
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.sampler import sample
from equivalence.search import Findings
from equivalence.subject import Relation
from models.schema.outcome import Outcome
from models.schema.trace import Args
from tests.toy import Rule, Toy, ToySubject, plenty


def control(make: type[Toy], rule: Rule = plenty, budget: int = 1500) -> Findings:
    subject = ToySubject()
    one, other = make(rule), make(rule)
    oracle = oracle_for(one, other, "state", subject.user_sections)
    session = ControlSession(subject, Lockstep(one, other, oracle))
    sample(session, subject.generator(), Random(5), budget)
    return session.close()


def test_a_deterministic_system_agrees_with_itself() -> None:
    found = control(Toy)
    assert (found.ops, found.over) == (1500, False)
    assert ("grow", "bug") in found.outcomes


def test_two_instances_that_share_something_differ() -> None:
    class Sharing(Toy):
        taken = count()

        def op_take(self, who: str, n: int) -> Outcome:
            return Outcome(-1, "EIO") if next(self.taken) == 40 else super().op_take(who, n)

    assert control(Sharing).divergence is not None


def test_what_is_left_of_one_trace_shows_in_the_next() -> None:
    """Both instances see the same leftovers, so only running a trace again shows them."""

    class Leaking(Toy):
        boots = 0

        def boot(self, world: Args) -> None:
            super().boot(world)
            Leaking.boots += 1

        def op_grow(self, n: int) -> Outcome:
            return Outcome(value=Leaking.boots)

    found = control(Leaking)
    assert found.divergence is None
    assert found.fault is not None
    trace, text = found.fault
    assert text.startswith("the same trace gave two results on one system, at op ")
    assert any(op.kind == "grow" for op in trace.ops)


def test_what_gets_its_name_when_it_is_first_looked_at_is_no_difference() -> None:
    class Naming(Toy):
        def boot(self, world: Args) -> None:
            super().boot(world)
            self.first: int | None = None

        def digest(self, relation: Relation) -> Hashable:
            if self.first is None:
                self.first = self.free
            return super().digest(relation), self.first

    found = control(Naming)
    assert (found.ops, found.fault, found.divergence) == (1500, None, None)
