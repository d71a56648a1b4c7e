from collections.abc import Mapping, Sequence

import pytest

from equivalence import explain
from equivalence.driver import Lockstep
from equivalence.explain import (
    confirm,
    differences,
    shrink_defect,
    shrink_divergence,
    shrink_fault,
    timeline,
)
from equivalence.oracle import oracle_for
from equivalence.subject import Observation
from models.schema.divergence import Difference, Divergence
from models.schema.outcome import Outcome
from models.schema.result import FieldChange, OutcomeText, Shrinking, TimelineStep
from models.schema.trace import Args, Op, Scalar, Trace
from tests.toy import Toy, ToySubject, greedy, plenty

SUBJECT = ToySubject()
TAKE = Op("take", {"who": "A", "n": 3})
ONE = Op("take", {"who": "B", "n": 1})
GROW = Op("grow", {"n": 1})
GIVE = Op("give", {"who": "B"})


def never() -> bool:
    return False


def pair(before: Toy, after: Toy) -> Lockstep:
    return Lockstep(before, after, oracle_for(before, after, "state", SUBJECT.user_sections))


def trace(*ops: Op, pages: int) -> Trace:
    return Trace("toy", {"pages": pages}, ops)


def first(lockstep: Lockstep, one: Trace) -> Divergence:
    divergence = lockstep.run(one)
    assert divergence is not None
    return divergence


def test_a_divergence_shrinks_to_exactly_the_smallest_trace() -> None:
    lockstep = pair(Toy(plenty), Toy(greedy))
    long = trace(GROW, ONE, GIVE, GROW, GROW, ONE, TAKE, ONE, pages=0)
    divergence = first(lockstep, long)
    assert confirm(lockstep, long, divergence)
    small = shrink_divergence(lockstep, long, divergence, SUBJECT, never)
    assert small.trace == trace(TAKE, pages=2)
    assert small.shrinking == Shrinking(
        from_ops=8, to_ops=1, runs=small.shrinking.runs, complete=True
    )


def test_another_divergence_on_the_way_is_not_taken_for_it() -> None:
    class Other(Toy):
        """Differs in another field when only one page is left."""

        def op_grow(self, n: int) -> Outcome:
            outcome = super().op_grow(n)
            self.held.setdefault("C", 0)
            return outcome

    lockstep = pair(Toy(plenty), Other(greedy))
    long = trace(ONE, TAKE, pages=3)
    small = shrink_divergence(lockstep, long, first(lockstep, long), SUBJECT, never)
    assert small.trace == trace(TAKE, pages=2)
    grown = trace(GROW, TAKE, pages=1)
    small = shrink_divergence(lockstep, grown, first(lockstep, grown), SUBJECT, never)
    assert small.trace == trace(Op("grow", {"n": 0}), pages=0)


def test_what_does_not_repeat_is_not_confirmed() -> None:
    lockstep = pair(Toy(plenty), Toy(greedy))
    divergence = first(lockstep, trace(TAKE, pages=2))
    assert not confirm(lockstep, trace(TAKE, pages=3), divergence)
    assert not confirm(lockstep, trace(TAKE, pages=99), divergence)
    other = Divergence(0, TAKE, (Difference(("pool", "free"), 1, 2),))
    assert not confirm(lockstep, trace(TAKE, pages=2), other)


class Raising(Toy):
    def op_give(self, who: str) -> Outcome:
        if who in self.held:
            raise KeyError(who)
        return super().op_give(who)


def test_a_fault_shrinks_like_a_divergence() -> None:
    lockstep = pair(Toy(plenty), Raising(plenty))
    small = shrink_fault(lockstep, trace(GROW, ONE, GROW, GIVE, ONE, pages=5), SUBJECT, never)
    assert [str(op) for op in small.trace.ops] == ["take who=A n=0", "give who=A"]
    assert small.trace.world == {"pages": 0}


def test_a_fault_that_only_the_audit_sees_shrinks_too() -> None:
    class Blind(Toy):
        def digest(self, relation: str) -> int:
            return self.free

    class Forgetful(Blind):
        def op_take(self, who: str, n: int) -> Outcome:
            outcome = super().op_take(who, n)
            self.held.clear()
            return outcome

    small = shrink_fault(
        pair(Blind(plenty), Forgetful(plenty)), trace(GROW, ONE, GROW, pages=5), SUBJECT, never
    )
    assert [str(op) for op in small.trace.ops] == ["take who=A n=0"]


def test_a_fault_that_does_not_repeat_stays_as_it_is() -> None:
    one = trace(GROW, Op("grow", {"n": 20}), pages=5)
    small = shrink_fault(pair(Toy(plenty), Toy(plenty)), one, SUBJECT, never)
    assert small.trace == one
    assert small.shrinking == Shrinking(from_ops=2, to_ops=2, runs=1, complete=False)


def test_what_hangs_is_shrunk_with_patience_for_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Toy):
        def op_give(self, who: str) -> Outcome:
            return Outcome(-1, ending="hang", detail="retry")

    monkeypatch.setattr(explain, "HANG_LIMIT", 1)
    long = trace(GROW, ONE, GROW, GIVE, pages=5)
    lockstep = pair(Toy(plenty), Stuck(plenty))
    small = shrink_divergence(lockstep, long, first(lockstep, long), SUBJECT, never)
    assert (small.shrinking.runs, small.shrinking.complete) == (1, False)
    small = shrink_defect(Stuck(plenty), long, "hang", SUBJECT, never)
    assert (small.shrinking.runs, small.shrinking.complete) == (1, False)


def test_a_defect_shrinks_on_one_system_alone() -> None:
    small = shrink_defect(
        Toy(greedy), trace(GROW, ONE, TAKE, ONE, pages=2), "no-debt", SUBJECT, never
    )
    assert small.trace == trace(TAKE, pages=2)

    class Loose(ToySubject):
        """Offers worlds that do not boot, first of all."""

        worlds: Mapping[str, Sequence[Scalar]] = {"pages": (99, *range(9))}

        def check_world(self, world: Args) -> None:
            """Left to the system."""

    small = shrink_defect(Toy(greedy), trace(GROW, TAKE, pages=1), "no-debt", Loose(), never)
    assert small.trace == trace(TAKE, pages=2)


def test_a_timeline_shows_outcomes_and_changed_fields_on_both_sides() -> None:
    initial, steps = timeline(Toy(plenty), Toy(greedy), trace(ONE, GROW, TAKE, pages=2))
    assert initial == {"pool": {"free": 2}, "holders": {}}
    assert steps == (
        TimelineStep(
            index=0,
            op="take who=B n=1",
            before=OutcomeText(ret=0),
            after=OutcomeText(ret=0),
            changed=(
                FieldChange(field="pool.free", before=1, after=1, differs=False),
                FieldChange(field="holders.B", before=1, after=1, differs=False),
            ),
        ),
        TimelineStep(
            index=1,
            op="grow n=1",
            before=OutcomeText(ret=0),
            after=OutcomeText(ret=0),
            changed=(FieldChange(field="pool.free", before=2, after=2, differs=False),),
        ),
        TimelineStep(
            index=2,
            op="take who=A n=3",
            before=OutcomeText(ret=-1, errno="ENOMEM"),
            after=OutcomeText(ret=0),
            changed=(
                FieldChange(field="pool.free", before=2, after=-1, differs=True),
                FieldChange(field="holders.A", before="(absent)", after=3, differs=True),
            ),
        ),
    )


def test_a_timeline_ends_its_states_where_a_side_dies() -> None:
    _, steps = timeline(Toy(plenty), Toy(greedy), trace(Op("grow", {"n": 20}), ONE, pages=2))
    assert steps[0].before.ending == "bug"
    assert [step.changed for step in steps] == [(), ()]


def test_a_timeline_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowded(Toy):
        def observe(self) -> Observation:
            return {"list": [self.free] * 100, "tuple": (1, {"x": (2,)})}

    monkeypatch.setattr(explain, "MAX_STEPS", 2)
    _, steps = timeline(Crowded(plenty), Crowded(plenty), trace(GROW, GROW, GROW, pages=0))
    assert len(steps) == 2
    assert (len(steps[0].changed), steps[0].more) == (explain.MAX_FIELDS, 40)
    assert steps[0].changed[1].field == "list.1"


def test_differences_are_what_json_can_hold() -> None:
    many = tuple(Difference(("l", n), (1,), None) for n in range(100))
    found = differences(Divergence(0, TAKE, many))
    assert len(found) == explain.MAX_FIELDS
    assert found[0] == FieldChange(field="l.0", before=[1], after=None, differs=True)
