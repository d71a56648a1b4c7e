"""Hunting for planted bugs: which search kills them, what survives, what is explained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any

import pytest

from equivalence import gate, mutate
from equivalence.backends.port_planter import PortPlanter, PortWorkshop, mutants_in, touched
from equivalence.backends.port_tier import PortTier
from equivalence.campaign import Config
from equivalence.driver import FaultError, Lockstep
from equivalence.edit import edit
from equivalence.events import PairName
from equivalence.explorer import SmallWorld
from equivalence.mutants import Mutant
from equivalence.mutate import Fate, Hunter, Plan, RefusedError, hunt_all, watchdog
from equivalence.scores import Scores, evidence_of
from models.schema.trace import Op, Trace, parse_trace
from tests import toy_port
from tests.toy_port import ToySubject, replacing, tier

WORLD = SmallWorld(
    "two",
    "two pages",
    {"pages": 2},
    (Op("take", {"proc": "A", "n": 1}), Op("take", {"proc": "A", "n": 2})),
)
PATCHED = replacing(take=toy_port.take_twice)


def hunter(subject: ToySubject | None = None, **plan: Any) -> Hunter:
    worlds = plan.pop("worlds", (WORLD,))
    functions = plan.pop("functions", ("take", "fits", "digest_state"))
    workshop = PortWorkshop(tier(PATCHED), 1, functions, plan.get("relation", "state"))
    return Hunter(subject or ToySubject(), workshop, worlds, Plan(**plan))


def mutant(source: str, function: str = "take", operator: str = "test") -> Mutant:
    name = {"take": "take_twice"}.get(function, function)
    line = getattr(toy_port, name).__code__.co_firstlineno + 2
    return Mutant(function, operator, "a", "b", 1, line, source)


TAKE_TOO_MANY = "def take(n):\n    free[0] = free[0] - n\n    return 0\n"
CRASH = "def take(n):\n    return free[n]\n"
HANG = "def take(n):\n    while True:\n        pass\n"
SAME = "def fits(n):\n    return not free[0] < n\n"


def test_a_world_that_does_not_run_what_is_changed_is_left_out() -> None:
    idle = SmallWorld("idle", "nothing is taken", {"pages": 2}, (Op("give", {"proc": "A"}),))
    alike = mutant(SAME, "fits")
    spent = [hunter(ops=100, worlds=worlds).hunt(alike).ops for worlds in ((), (idle,), (WORLD,))]
    assert spent[0] == spent[1] < spent[2]


def test_the_first_search_that_tells_it_apart_kills_it() -> None:
    by_sampler = hunter().hunt(mutant(TAKE_TOO_MANY))
    assert (by_sampler.killed_by, by_sampler.how) == ("sampler", "diverged")
    assert by_sampler.ops > 0
    subject = ToySubject()
    subject.traces = (
        Trace("toy", {"pages": 3}, (Op("take", {"proc": "A", "n": 1}),)),
        Trace("toy", {"pages": 0}, (Op("give", {"proc": "A"}), Op("take", {"proc": "A", "n": 2}))),
    )
    by_examples = hunter(subject).hunt(mutant(TAKE_TOO_MANY))
    assert (by_examples.killed_by, by_examples.ops) == ("examples", 3)
    assert parse_trace(by_examples.trace).ops == subject.traces[1].ops
    by_world = hunter(ToySubject(("give",))).hunt(mutant(TAKE_TOO_MANY))
    assert by_world.killed_by == "world two"
    assert len(parse_trace(by_world.trace).ops) == 2


def test_a_mutant_that_raises_is_killed_by_every_search() -> None:
    subject = ToySubject()
    subject.traces = (Trace("toy", {"pages": 3}, (Op("take", {"proc": "A", "n": 1}),)),)
    for one, name in (
        (hunter(subject), "examples"),
        (hunter(), "sampler"),
        (hunter(ToySubject(("give",))), "world two"),
    ):
        fate = one.hunt(mutant(CRASH))
        assert (fate.killed_by, fate.how) == (name, "crashed")
        assert fate.killed
        assert "IndexError" in fate.field
        assert fate.trace


def test_a_mutant_that_does_not_come_back_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "HANG_S", 0.05)
    fate = hunter().hunt(mutant(HANG))
    assert (fate.killed_by, fate.how) == ("sampler", "hangs")


def test_the_watchdog_leaves_alone_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "HANG_S", 0.02)
    one = toy_port.tier().system(0, evidence=False)
    lockstep = Lockstep(one, one, None)  # type: ignore[arg-type]
    with watchdog(lockstep):
        end = time.process_time() + 0.15
        while time.process_time() < end:
            lockstep.ticks += 1
    assert lockstep.ticks > 0


def test_what_a_mutant_broke_may_raise_only_when_it_is_looked_at() -> None:
    spoil = "def take(n):\n    free.append(None)\n    free[0] = {}\n    return 0\n"
    fate = hunter().hunt(mutant(spoil))
    assert fate.killed_by == "sampler"
    late = "def digest_state():\n    raise KeyError(1)\n"
    broken = hunter().hunt(mutant(late, "digest_state"))
    assert broken.how == "crashed"


def test_a_mutant_that_behaves_alike_survives_everything() -> None:
    fate = hunter(ops=300).hunt(mutant(SAME, "fits"))
    assert (fate.killed_by, fate.how, fate.trace) == ("", "", "")
    assert fate.survived
    assert fate.ran
    assert fate.ops > 100


def test_only_what_runs_the_changed_statement_is_tried() -> None:
    subject = ToySubject(("give",))
    fate = hunter(subject, ops=300, worlds=()).hunt(mutant(SAME, "fits"))
    assert (fate.ops, fate.ran, fate.survived) == (0, False, True)


def test_what_would_not_compile_is_no_kill() -> None:
    typed = mutant("def take(n):\n    return n.count\n")
    fate = hunter(ops=300).hunt(typed)
    assert (fate.killed_by, fate.how, fate.compiles) == ("sampler", "crashed", False)
    assert not fate.killed
    assert not fate.survived
    null = mutant("def take(n):\n    return None.count\n")
    assert hunter(ops=300).hunt(null).killed
    refused = replace(typed, compiles=False)
    fate = hunter(ops=300).hunt(refused)
    assert (fate.ops, fate.killed_by, fate.compiles) == (0, "", False)


def test_a_trace_in_which_operations_run_together_kills_too() -> None:
    subject = ToySubject(("give",))
    subject.traces = (
        Trace(
            "toy",
            {"pages": 1},
            (Op("take", {"proc": "A", "n": 1}), Op("take", {"proc": "B", "n": 1})),
            "0-2/1.1",
        ),
    )
    fate = hunter(subject, worlds=()).hunt(mutant(TAKE_TOO_MANY))
    assert (fate.killed_by, fate.how, fate.ops) == ("examples", "diverged", 2)


def test_a_killing_trace_is_made_smaller_if_asked() -> None:
    plain = hunter(seed=3).hunt(mutant(TAKE_TOO_MANY))
    small = hunter(seed=3, shrink=True).hunt(mutant(TAKE_TOO_MANY))
    assert len(parse_trace(small.trace).ops) == 1
    assert len(parse_trace(small.trace).ops) <= len(parse_trace(plain.trace).ops)


def test_calls_into_the_environment_can_tell_mutants_apart() -> None:
    lines = ("if not fits(n):", "    return -1", "free[0] = free[0] - n", "return 0")
    quiet = "def take(n):\n" + "".join(f"    {line}\n" for line in lines)
    assert hunter(ops=200).hunt(mutant(quiet)).killed_by == ""
    assert hunter(ops=200, relation="effects").hunt(mutant(quiet)).killed_by == "sampler"


def test_an_original_that_raises_is_no_mutant_s_fault() -> None:
    def raises(n: int) -> int:
        return [][n]

    subject = ToySubject()
    subject.traces = (Trace("toy", {"pages": 3}, (Op("take", {"proc": "A", "n": 1}),)),)
    with pytest.raises(FaultError, match="the original step fails by itself: IndexError"):
        Hunter(subject, PortWorkshop(tier(replacing(take=raises)), 1, ("take",)), (), Plan())


def test_results_do_not_depend_on_the_number_of_processes() -> None:
    made = tier(PATCHED)
    mutants = mutants_in(made, 1, ["take", "no_such_function", "fits"])
    assert {m.function for m in mutants} == {"take", "fits"}
    fates = [
        [
            (f.mutant.key, f.killed_by, f.how, f.ops)
            for f in hunt_all(hunter(ops=200), mutants, jobs)
        ]
        for jobs in (1, 2)
    ]
    assert fates[0] == fates[1]
    assert any(killed for _, killed, _, _ in fates[0])


def test_survivors_are_explained_or_counted() -> None:
    fates = [
        Fate(mutant(SAME)),
        Fate(Mutant("fits", "drop", "x", "y", 1, 1, SAME)),
        Fate(mutant(CRASH), killed_by="sampler"),
    ]
    fates.append(Fate(mutant(CRASH), killed_by="sampler", compiles=False))
    evidence = evidence_of(fates, {"take: test: a -> b #1": "it is the same"}.get)
    assert (evidence.killed, evidence.explained, evidence.survived) == (1, 1, 1)
    assert evidence.not_compiled == 1
    assert evidence.survivors == ("fits: drop: x -> y #1",)
    assert evidence.functions == ("take", "fits")
    assert evidence.searches == {"sampler": 1}


def never() -> bool:
    return False


def scores(made: PortTier, worlds: Sequence[SmallWorld] = (WORLD,)) -> Scores:
    return Scores(ToySubject(), PortPlanter(made), worlds, lambda key: None, Plan(ops=200))


def test_a_run_can_carry_the_score_of_what_a_pair_touches() -> None:
    made = tier(PATCHED)
    assert touched(made, 0, 1) == ["take"]
    alone = scores(made)(PairName(0, 1, "patch", "base"), never)
    assert alone.killed > alone.survived
    assert (alone.functions, alone.not_tried) == (("take",), 0)
    result = gate.run(Config(ops=500, against="base", mutate=scores(made)), ToySubject(), made)
    assert result.pairs[-1].evidence.mutants == alone
    assert isinstance(made.functions(1)["take"], FunctionType)


def test_pairs_that_end_in_one_step_share_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    same = edit(toy_port.fits, "free[0] >= n", "not free[0] < n")
    made = tier(PATCHED, replacing(fits=same))
    score = scores(made)
    both = score(PairName(0, 2, "patch", "base"), never)
    monkeypatch.setattr(Hunter, "hunt", None)
    last = score(PairName(1, 2, "patch", "previous"), never)
    assert both.functions == ("fits", "take")
    assert last.functions == ("fits",)
    assert 0 < last.killed < both.killed


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_hunt_ends_when_it_is_told_to(jobs: int) -> None:
    one = hunter(ops=100)
    mutants = mutants_in(tier(PATCHED), 1, ["take"])
    answers = iter([False, False, True])
    assert len(list(hunt_all(one, mutants, jobs, lambda: next(answers)))) == 2


def test_what_is_left_when_the_time_is_over_is_counted() -> None:
    made = tier(PATCHED)
    nothing = scores(made)(PairName(0, 1, "patch", "base"), lambda: True)
    assert nothing.killed == 0
    assert nothing.not_tried == len(mutants_in(made, 1, ["take"]))
    answers = iter([False] * 3 + [True] * 100)
    some = scores(made)(PairName(0, 1, "patch", "base"), lambda: next(answers))
    assert some.not_tried == nothing.not_tried - 2


def test_races_tell_apart_what_one_task_cannot() -> None:
    source = (
        "def take(n):\n    spin_lock(pool_lock)\n    enough = fits(n)\n    spin_unlock(pool_lock)\n"
        "    spin_lock(pool_lock)\n    if not enough:\n        spin_unlock(pool_lock)\n"
        "        return -1\n    free[0] = free[0] - n\n    spin_unlock(pool_lock)\n    return 0\n"
    )
    assert hunter(ops=300, worlds=()).hunt(mutant(source)).survived
    fate = hunter(ops=300, worlds=(), raced=2_000).hunt(mutant(source))
    assert (fate.killed_by, fate.how) == ("tasks", "diverged")
    assert "schedule" in fate.trace
    broken = mutant(TAKE_TOO_MANY)
    subject = ToySubject()
    subject.traces = ()
    assert hunter(subject, ops=1, tries=1, worlds=(), raced=500).hunt(broken).killed


class Shop(PortWorkshop):
    """Notes what is closed, and refuses one mutant."""

    def __init__(self) -> None:
        super().__init__(tier(PATCHED), 1, ("take", "fits"))
        self.closed: list[str] = []

    def closing(self, system: Any, name: str) -> Any:
        system.close = lambda: self.closed.append(name)
        return system

    def original(self) -> Any:
        return self.closing(super().original(), "original")

    def watched(self) -> Any:
        return self.closing(super().watched(), "watched")

    def mutated(self, mutant: Mutant) -> Any:
        if mutant.operator == "refused":
            raise RefusedError("line 1: no")
        return self.closing(super().mutated(mutant), mutant.operator)


def test_what_runs_is_closed_and_what_does_not_compile_is_told() -> None:
    shop = Shop()
    one = Hunter(ToySubject(), shop, (), Plan(ops=100))
    fate = one.hunt(mutant(SAME, "fits", "refused"))
    assert (fate.compiles, fate.field, fate.killed_by) == (False, "line 1: no", "")
    assert one.hunt(mutant(TAKE_TOO_MANY)).killed
    assert shop.closed == ["test"]
    one.close()
    assert shop.closed == ["test", "original", "watched"]


def test_a_mutant_is_tried_on_as_many_operations_as_asked() -> None:
    assert hunter(ops=300, tries=1, worlds=()).hunt(mutant(SAME, "fits")).ops < 100


def scheduled(n: int) -> ToySubject:
    subject = ToySubject(("give",))
    ops = (Op("take", {"proc": "A", "n": n}), Op("take", {"proc": "B", "n": n}))
    subject.traces = (Trace("toy", {"pages": 3}, ops, "0-2/1.1"),)
    return subject


def test_operations_that_run_together_may_agree_or_crash() -> None:
    assert hunter(scheduled(1), worlds=()).hunt(mutant(SAME, "fits")).survived
    fate = hunter(scheduled(1), worlds=()).hunt(mutant(CRASH))
    assert (fate.how, fate.field[:10]) == ("crashed", "IndexError")


@pytest.mark.parametrize("search", ["race", "explored"])
def test_a_search_that_a_mutant_breaks_kills_it(
    search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hunter(ops=1, tries=1, raced=10)

    def breaks(*args: object) -> None:
        raise KeyError(search)

    monkeypatch.setattr(mutate, search, breaks)
    fate = one.hunt(mutant(SAME, "fits"))
    assert (fate.how, fate.field) == ("crashed", f"KeyError: '{search}'")


def test_making_a_trace_smaller_keeps_to_what_diverges() -> None:
    source = "def take(n):\n    if n < 2:\n        return free[n]\n    return 0\n"
    subject = ToySubject()
    subject.traces = (Trace("toy", {"pages": 3}, (Op("take", {"proc": "A", "n": 2}),)),)
    fate = hunter(subject, shrink=True).hunt(mutant(source))
    assert (fate.how, parse_trace(fate.trace).ops[0].args["n"]) == ("diverged", 2)


def test_the_original_may_end_in_a_deadlock_and_differ_from_the_boot_on() -> None:
    subject = ToySubject(("give",))
    leak = Op("leak", {"proc": "A"})
    subject.traces = (Trace("toy", {"pages": 3}, (leak, leak, leak)),)
    one = hunter(subject, functions=("op_leak", "boot_world"), worlds=())
    line = toy_port.op_leak.__code__.co_firstlineno + 2
    same = Mutant(
        "op_leak",
        "x",
        "a",
        "b",
        1,
        line,
        "def op_leak(args):\n    mutex_lock(pool_lock)\n    return OK\n",
    )
    assert one.hunt(same).survived
    line = toy_port.boot_world.__code__.co_firstlineno + 2
    boots = Mutant(
        "boot_world", "x", "a", "b", 1, line, "def boot_world(world):\n    free[0] = 9\n"
    )
    fate = one.hunt(boots)
    assert fate.killed
    assert parse_trace(fate.trace).ops == ()


def test_an_original_that_disagrees_with_itself_is_told() -> None:
    def flaky(n: int, seen: list[int] = [0]) -> int:  # noqa: B006 -- kept between calls
        seen[0] = seen[0] + 1
        return -(seen[0] % 2)

    with pytest.raises(FaultError, match="the original does not agree with itself"):
        Hunter(ToySubject(), PortWorkshop(tier(replacing(take=flaky)), 1, ("take",)), (), Plan())


class Alone:
    """A system that runs one task."""

    def __init__(self, system: Any) -> None:
        for name in (
            *("boot", "apply", "digest", "drain_effects", "observe", "sections", "state_key"),
            *("coverable", "covered", "rows", "progress", "forget", "snapshot", "restore"),
        ):
            setattr(self, name, getattr(system, name))


def test_a_tier_with_one_task_leaves_out_what_runs_together() -> None:
    class One(PortWorkshop):
        def watched(self) -> Any:
            return Alone(super().watched())

    workshop = One(tier(PATCHED), 1, ("take",))
    fate = Hunter(scheduled(1), workshop, (), Plan(ops=50, raced=10)).hunt(mutant(TAKE_TOO_MANY))
    assert not fate.ran
