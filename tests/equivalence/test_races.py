"""Operations that run together: found races, replay, deadlocks, moved boundaries."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from equivalence import gate
from equivalence.backends import interleave
from equivalence.backends.port import PortSystem
from equivalence.campaign import Config
from equivalence.driver import FaultError, Lockstep
from equivalence.explain import shrink_defect, shrink_divergence, timeline
from equivalence.jobs import Job, Stop, Worker
from equivalence.oracle import oracle_for
from equivalence.races import _together, race, shrink_race
from equivalence.schedule import Schedule, parse_schedule
from equivalence.search import Findings, Session, defect_index, defects_in, replay
from models.kernel.locks import spin_lock, spin_unlock
from models.schema.outcome import OK
from models.schema.result import Verdict
from models.schema.trace import Op, Trace
from tests import toy, toy_port
from tests.toy_port import ToySubject, fits, replacing, tier

if TYPE_CHECKING:
    # The link joins them.
    from tests.toy_port import free, machine, other_lock, pool_lock


def op(kind: str, proc: str = "A", **args: Any) -> Op:
    return Op(kind, {"proc": proc, **args})


TAKES = (op("take", "A", n=1), op("take", "B", n=1))


def system(body: FunctionType | None = None) -> PortSystem:
    patches = (replacing(take=body),) if body is not None else ()
    made = tier(*patches).system(len(patches), evidence=False)
    assert isinstance(made, PortSystem)
    return made


def lockstep(body: Any) -> Lockstep:
    made = tier(replacing(take=body))
    one, two = (made.system(k, evidence=False) for k in (0, 1))
    return Lockstep(one, two, oracle_for(one, two, "state", frozenset({"pool"})))


def trace(schedule: str, *ops: Op, pages: int = 1) -> Trace:
    return Trace("toy", {"pages": pages}, ops, schedule)


def test_without_switches_one_operation_follows_the_other() -> None:
    one = system()
    one.boot({"pages": 1})
    joint = one.apply_together(TAKES, ())
    assert [outcome.errno for outcome in joint.outcomes] == [None, "ENOMEM"]
    assert joint.boundaries == tuple(
        (t, f"spin_{w}", "pool") for t in (0, 1) for w in ("lock", "unlock")
    )


def test_a_switch_lets_the_other_task_go_first() -> None:
    one = system()
    one.boot({"pages": 1})
    joint = one.apply_together(TAKES, ((0, 1),))
    assert [outcome.errno for outcome in joint.outcomes] == ["ENOMEM", None]
    one.boot({"pages": 1})
    # Task 1 waits at boundary 2 until task 0, switched to at 1, has released the lock.
    later = one.apply_together(TAKES, ((1, 1), (2, 0), (3, 1), (9, 2)))
    assert [outcome.errno for outcome in later.outcomes] == [None, "ENOMEM"]


def test_a_task_that_waits_goes_on_when_the_lock_is_free() -> None:
    one = system()
    one.boot({"pages": 0})
    joint = one.apply_together((op("give", "A"), op("take", "B", n=1)), ((1, 1), (2, 1)))
    assert joint.outcomes == (OK, OK) or joint.outcomes[1].errno == "ENOMEM"
    assert {task for task, _, _ in joint.boundaries} == {0, 1}


def test_locks_taken_in_either_order_are_noted_and_can_deadlock() -> None:
    one = system()
    one.boot({"pages": 0})
    ops = (op("give", "A"), op("swap", "B"))
    assert one.apply_together(ops, ()).inversions == (("other", "pool"),)
    ends = set()
    for point in range(8):
        for again in range(point + 1, 8):
            one.boot({"pages": 0})
            joint = one.apply_together(ops, ((point, 1), (again, 0)))
            ends.add(tuple(outcome.ending for outcome in joint.outcomes))
    assert ("returned", "returned") in ends
    assert ("deadlock", "deadlock") in ends


def test_a_lock_that_is_never_released_is_a_deadlock_for_the_other() -> None:
    one = system()
    one.boot({"pages": 1})
    joint = one.apply_together((op("leak", "A"), op("take", "B", n=1)), ())
    assert [outcome.ending for outcome in joint.outcomes] == ["returned", "deadlock"]
    assert "nobody will release" in joint.outcomes[1].detail


def test_a_task_may_release_what_another_took() -> None:
    one = system()
    one.boot({"pages": 1})
    joint = one.apply_together((op("leak", "A"), op("free", "B")), ())
    assert [outcome.ending for outcome in joint.outcomes] == ["returned", "returned"]
    assert joint.inversions == ()
    assert one.apply(op("take", n=1)) == OK


def test_endless_boundaries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "MAX_BOUNDARIES", 10)
    one = system()
    one.boot({"pages": 1})
    joint = one.apply_together((op("spin", "A", n=50), op("take", "B", n=1)), ())
    assert joint.outcomes[0].ending == "deadlock"
    assert "more than 10 lock boundaries" in joint.outcomes[0].detail


def test_a_race_shows_only_under_some_schedules_and_is_replayed() -> None:
    pair = lockstep(toy_port.take_late)
    assert pair.run(trace("", *TAKES)) is None
    assert pair.run(trace("0-2/", *TAKES)) is None
    found = trace("0-2/0.1", *TAKES)
    for _ in range(2):
        divergence = pair.run(found)
        assert divergence is not None
        assert divergence.first.field == "outcome.ret"
    assert not pair.moved


def test_operations_before_and_after_run_alone() -> None:
    pair = lockstep(toy_port.take_late)
    around = trace("1-2/", op("give"), *TAKES, op("take", n=1), pages=0)
    assert pair.run(around) is None
    assert pair.index == 4
    assert pair.run(trace("9-2/", op("give"))) is None
    broken = lockstep(toy_port.take_late)
    late = trace("1-2/0.1", op("give"), *TAKES, op("take", n=1), pages=0)
    divergence = broken.run(late)
    assert divergence is not None
    assert divergence.op_index in (1, 2)


def test_a_trace_ends_where_both_sides_end() -> None:
    pair = lockstep(toy_port.take_late)
    assert pair.run(trace("1-2/", op("leak"), *TAKES)) is None
    assert pair.dead
    assert pair.run(trace("2-2/", op("leak"), op("take", n=1), *TAKES)) is None
    assert pair.run(trace("0-2/", *TAKES, op("leak"), op("take", n=1), op("give"))) is None
    assert pair.index == 4


def test_a_divergence_before_and_after_what_runs_together_is_found() -> None:
    def always(n: int) -> int:
        return 0

    pair = lockstep(always)
    before = pair.run(trace("1-2/", op("take", n=2), op("give"), op("give", "B")))
    after = pair.run(trace("0-2/", op("give"), op("give", "B"), op("take", n=2), pages=2))
    assert before is not None
    assert before.op_index == 0
    assert after is not None
    assert after.op_index == 2


def test_a_moved_boundary_compares_what_can_be_reached() -> None:
    fine = lockstep(toy_port.take_twice)
    assert fine.run(trace("0-2/1.1", *TAKES, op("give"))) is None
    assert fine.moved
    assert fine.dead
    broken = lockstep(toy_port.take_twice_badly)
    divergence = broken.run(trace("0-2/", *TAKES))
    assert divergence is not None
    assert divergence.first.field == "outcome.reachable"
    assert "more, such as" in str(divergence.first.after)
    assert "nothing that the other" in str(divergence.first.before)


def noting(late: bool) -> FunctionType:
    """Take one, checked before the lock is taken or under it; who fails takes another lock."""

    def early(n: int) -> int:
        spin_lock(pool_lock)
        enough = fits(n)
        if enough:
            free[0] = free[0] - n
        spin_unlock(pool_lock)
        if not enough:
            spin_lock(other_lock)
            spin_unlock(other_lock)
        return 0 if enough else -1

    def check_first(n: int) -> int:
        enough = fits(n)
        spin_lock(pool_lock)
        if enough:
            free[0] = free[0] - n
        spin_unlock(pool_lock)
        if not enough:
            spin_lock(other_lock)
            spin_unlock(other_lock)
        return 0 if enough else -1

    chosen = check_first if late else early
    assert isinstance(chosen, FunctionType)
    return chosen


def test_boundaries_that_differ_because_of_what_was_done_are_not_moved() -> None:
    """Alone both sides pass the same ones; the difference in outcomes is what is told."""
    made = tier(replacing(take=noting(late=False)), replacing(take=noting(late=True)))
    one, two = (made.system(k, evidence=False) for k in (1, 2))
    pair = Lockstep(one, two, oracle_for(one, two, "state", frozenset({"pool"})))
    assert pair.run(trace("0-2/", *TAKES)) is None
    divergence = pair.run(trace("0-2/0.1", *TAKES))
    assert divergence is not None
    assert divergence.first.field == "outcome.ret"
    assert not pair.moved


def test_a_system_that_raises_when_operations_run_together_ends_the_search() -> None:
    def raises(n: int) -> int:
        return [][n]

    session = Session(ToySubject(), lockstep(raises))
    replay(session, [trace("0-2/", *TAKES)])
    assert session.findings.fault is not None
    assert "raised IndexError" in session.findings.fault[1]
    assert session.findings.fault[0].schedule == "0-2/"


def test_locks_newly_taken_in_either_order_are_a_difference() -> None:
    pair = lockstep(toy_port.take_with_other)
    divergence = pair.run(trace("0-2/", op("take", "A", n=1), op("swap", "B")))
    assert divergence is not None
    assert divergence.first.field == "outcome.reachable"
    assert "other and pool in either order" in str(divergence.first.after)


def test_a_system_that_raises_is_a_fault() -> None:
    def raises(n: int) -> int:
        return [][n]

    with pytest.raises(FaultError, match="IndexError"):
        lockstep(raises).run(trace("0-2/", *TAKES))


def test_a_defect_after_what_runs_together_is_found_again() -> None:
    given = trace("1-2/", op("give"), op("give"), op("swap", "B"), op("leak"), op("take", n=1))
    shown = list(defects_in(system(), given, ToySubject()))
    assert [(index, name.partition(":")[0]) for index, name, _ in shown] == [
        (2, "lock order"),
        (4, "deadlock"),
    ]


def test_a_tier_without_tasks_says_so() -> None:
    made = toy.ToyTier(toy.plenty, toy.plenty_too)
    one, two = made.system(0), made.system(1)
    pair = Lockstep(one, two, oracle_for(one, two, "state", frozenset()))
    takes = tuple(Op("take", {"who": who, "n": 1}) for who in "AB")
    with pytest.raises(FaultError, match="cannot run operations together"):
        pair.run(Trace("toy", {"pages": 1}, takes, "0-2/"))
    session = Session(toy.ToySubject(), pair)
    replay(session, [Trace("toy", {"pages": 1}, takes, "0-2/")])
    assert session.findings.traces == 0
    with pytest.raises(FaultError, match="cannot run operations together"):
        race(session, toy.ToyGenerator(), Random(0), 10, 2)


def raced(body: Any, subject: ToySubject, ops: int = 2_000, tasks: int = 2) -> Findings:
    worker = Worker(subject, tier(replacing(take=body)), "state", Stop())
    return worker.run(Job("tasks", 0, 1, seed=1, ops=ops, tasks=tasks))


@pytest.mark.parametrize("body", [toy_port.take_late, toy_port.take_twice_badly])
def test_planted_races_are_found_and_made_minimal(body: Any) -> None:
    subject = ToySubject()
    found = raced(body, subject)
    assert found.divergence is not None
    whole, divergence = found.divergence
    pair = lockstep(body)
    small = shrink_divergence(pair, whole, divergence, subject, lambda: False)
    assert len(small.trace.ops) <= 3
    assert len(parse_schedule(small.trace.schedule).switches) <= 2
    assert pair.run(small.trace) is not None
    more = replace(small.trace, ops=(*small.trace.ops, op("give")))
    assert timeline(pair.before, pair.after, more)[1][-1].op == "give proc=A"
    initial, steps = timeline(pair.before, pair.after, small.trace)
    assert initial["pool"]["free"] == small.trace.world.get("pages", 0)
    assert len(steps) == len(small.trace.ops)


def test_what_does_not_race_agrees_to_the_end_of_the_budget() -> None:
    found = raced(toy_port.take, ToySubject(), tasks=3)
    assert found.divergence is None
    assert found.ops >= 2_000
    moved = raced(toy_port.take_twice, ToySubject(("take",)), ops=300)
    assert moved.divergence is None


def test_operations_that_run_alone_never_run_together() -> None:
    found = raced(toy_port.take_late, ToySubject(alone=("take",)), ops=600)
    assert found.divergence is None
    assert raced(toy_port.take_late, ToySubject(alone=("take", "give")), ops=60).divergence is None


def test_deadlocks_alike_end_a_schedule_not_the_search() -> None:
    subject = ToySubject(("give", "swap"))
    found = raced(toy_port.take, subject, ops=1_500)
    assert not found.over
    assert found.ops >= 1_500
    order = "lock order: other and pool"
    names = sorted(found.defects)
    assert [name.partition(":")[0] for name in names] == ["deadlock", "deadlock", "lock order"]
    assert names[-1] == order
    alone = system()
    for name in names:
        _, whole = found.defects[name]
        small = shrink_defect(alone, whole, name, subject, lambda: False)
        assert {one.kind for one in small.trace.ops} == {"give", "swap"}
        assert len(small.trace.ops) == 2
        assert defect_index(alone, small.trace, name, subject) == 1
        assert bool(parse_schedule(small.trace.schedule).switches) is (name != order)


def test_a_difference_between_prefix_operations_ends_the_search_too() -> None:
    def always(n: int) -> int:
        return 0

    found = raced(always, ToySubject())
    assert found.divergence is not None
    assert not found.divergence[0].schedule


def test_a_trace_whose_world_cannot_boot_ends_the_search() -> None:
    class Unbootable(toy_port.ToyGenerator):
        def world(self, rng: Random) -> dict[str, Any]:
            return {"pages": "many"}

    session = Session(ToySubject(), lockstep(toy_port.take))
    race(session, Unbootable(("take",)), Random(0), 100, 2)
    assert session.findings.fault is not None
    assert "ValueError" in session.findings.fault[1]
    assert session.findings.ops == 0


def test_a_divergence_of_what_agreed_together_is_found_when_it_runs_alone() -> None:
    """After all schedules the operations run once more, one after the other."""

    def only_together(n: int) -> int:
        spin_lock(pool_lock)
        fine = machine.lock_hook is not None and fits(n)
        if fine:
            free[0] = free[0] - n
        spin_unlock(pool_lock)
        return 0 if fine else -1

    subject = ToySubject(("take",))
    generator = toy_port.ToyGenerator(("take",))
    session = Session(subject, lockstep(only_together))
    assert session.begin({"pages": 9})
    assert not _together(session, generator, Random(0), TAKES)
    assert session.findings.divergence is not None
    assert not session.findings.divergence[0].schedule


def test_the_search_stops_when_told() -> None:
    pair = lockstep(toy_port.take)
    session = Session(ToySubject(), pair, stop=lambda: True)
    race(session, ToySubject().generator(), Random(0), 100, 2)
    assert session.findings.truncated


def test_shrinking_a_race_ends_at_its_limit() -> None:
    whole = trace("2-2/0.1,3.0", op("give"), op("give", "B"), *TAKES)
    best, runs = shrink_race(whole, lambda candidate: 0, limit=1)
    assert runs == 1
    assert (best.ops, best.schedule) == (whole.ops, "2-2/3.0")


def test_replay_runs_what_runs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for schedule, diverges in (("0-2/", False), ("0-2/0.1", True)):
        session = Session(ToySubject(), lockstep(toy_port.take_late))
        replay(session, [trace(schedule, *TAKES)])
        assert session.findings.over is diverges
        assert session.findings.ops == 2
    stuck = Session(ToySubject(), lockstep(toy_port.take_late))
    replay(stuck, [trace("2-2/", op("leak"), op("take", n=1), *TAKES)])
    assert stuck.findings.ops == 2
    dead = Session(ToySubject(), lockstep(toy_port.take_late))
    replay(dead, [trace("1-2/", op("leak"), *TAKES, op("give"))])
    assert dead.findings.ops == 3


def test_a_run_with_two_tasks_finds_the_race_and_says_what_it_did() -> None:
    subject = ToySubject()
    made = tier(replacing(take=toy_port.take_late))
    alone = gate.run(Config(ops=1_000, against="base"), subject, made)
    assert alone.pairs[-1].verdict is not Verdict.DIVERGED
    assert alone.limits.tasks == 1
    result = gate.run(Config(ops=4_000, against="base", tasks=2), subject, made)
    pair = result.pairs[-1]
    assert pair.verdict is Verdict.DIVERGED
    assert pair.counterexample is not None
    assert "schedule choices=" in pair.counterexample.trace
    assert result.limits.tasks == 2
    assert "lock boundaries" in result.limits.interleaving
    assert replace(Schedule(1, 2), at=2) == Schedule(2, 2)
