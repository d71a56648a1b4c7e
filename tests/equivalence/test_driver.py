from collections.abc import Hashable

import pytest

from equivalence.driver import FaultError, Lockstep, run_trace
from equivalence.oracle import MAX_DIFFERENCES, Oracle, oracle_for
from equivalence.subject import Observation, Relation, WorldError
from models.schema.divergence import ABSENT, Difference, Divergence
from models.schema.outcome import OK, Outcome
from models.schema.trace import Args, Op, Trace
from tests.toy import Toy, ToySubject, greedy, plenty

TAKE = Op("take", {"who": "A", "n": 3})
GROW = Op("grow", {"n": 2})


def oracle(before: Toy, after: Toy, relation: Relation = "state") -> Oracle:
    return oracle_for(before, after, relation, ToySubject.user_sections, ToySubject.excluded)


def run(
    before: Toy, after: Toy, *ops: Op, pages: int = 2, relation: Relation = "state"
) -> Divergence | None:
    trace = Trace("toy", {"pages": pages}, ops)
    return run_trace(before, after, trace, oracle(before, after, relation))


class Forgetful(Toy):
    """Does not note who took."""

    def op_take(self, who: str, n: int) -> Outcome:
        outcome = super().op_take(who, n)
        self.held.clear()
        return outcome


class Chatty(Toy):
    """Says more to its environment."""

    def op_take(self, who: str, n: int) -> Outcome:
        self.log.append("hello")
        return super().op_take(who, n)


class Generous(Toy):
    """Has a page more from boot."""

    def boot(self, world: Args) -> None:
        super().boot(world)
        self.free += 1


class Raising(Toy):
    def op_give(self, who: str) -> Outcome:
        raise KeyError(who)


class Narrow(Toy):
    """Shows one section only."""

    sections = frozenset({"pool"})

    def observe(self) -> Observation:
        return {"pool": super().observe()["pool"]}


class BlindDigest(Toy):
    """A digest that leaves out what the observation shows."""

    def digest(self, relation: Relation) -> Hashable:
        return self.free


class VagueDigest(Toy):
    """A digest of more than the observation shows."""

    def digest(self, relation: Relation) -> Hashable:
        return id(self)


def test_two_of_a_kind_agree() -> None:
    assert run(Toy(plenty), Toy(plenty), TAKE, GROW, TAKE, pages=3) is None


def test_an_outcome_that_differs_comes_before_the_state() -> None:
    found = run(Toy(plenty), Toy(greedy), GROW, TAKE, pages=0)
    assert found == Divergence(
        1,
        TAKE,
        (
            Difference(("outcome", "ret"), -1, 0),
            Difference(("outcome", "errno"), "ENOMEM", None),
            Difference(("pool", "free"), 2, -1),
            Difference(("holders", "A"), ABSENT, 3),
        ),
    )


def test_a_state_that_differs_is_found_by_digest_and_named_by_observation() -> None:
    found = run(Toy(plenty), Forgetful(plenty), TAKE, pages=3)
    assert found == Divergence(0, TAKE, (Difference(("holders", "A"), 3, ABSENT),))
    assert run(Toy(plenty), Forgetful(plenty), TAKE, pages=3, relation="user") is None


def test_effects_are_compared_only_when_asked_for() -> None:
    assert run(Toy(plenty), Chatty(plenty), TAKE, pages=3) is None
    found = run(Toy(plenty), Chatty(plenty), TAKE, pages=3, relation="effects")
    assert found is not None
    assert found.differences == (
        Difference(("effects", 0), "take 3", "hello"),
        Difference(("effects", 1), ABSENT, "take 3"),
    )
    assert run(Chatty(plenty), Chatty(plenty), TAKE, TAKE, relation="effects") is None


def test_a_difference_at_boot_has_index_minus_one() -> None:
    found = run(Toy(plenty), Generous(plenty))
    assert found is not None
    assert (found.op_index, found.op) == (-1, Op("world", {"pages": 2}))
    assert found.first == Difference(("pool", "free"), 2, 3)


def test_a_fatal_outcome_on_both_sides_alike_ends_the_trace() -> None:
    lockstep = Lockstep(Toy(plenty), Toy(greedy), oracle(Toy(plenty), Toy(greedy)))
    burst = [Op("grow", {"n": 4})] * 4
    assert lockstep.run(Trace("toy", {"pages": 0}, (*burst, TAKE))) is None
    assert lockstep.dead
    assert lockstep.outcome.ending == "bug"
    assert lockstep.index == 4


def test_a_fatal_outcome_on_one_side_is_a_divergence_of_outcomes_alone() -> None:
    class Sturdy(Toy):
        def op_grow(self, n: int) -> Outcome:
            return OK

    found = run(Toy(plenty), Sturdy(plenty), Op("grow", {"n": 20}))
    assert found is not None
    assert [d.field for d in found.differences] == [
        "outcome.ending",
        "outcome.ret",
        "outcome.detail",
    ]


def test_two_hangs_agree_wherever_they_were_stopped() -> None:
    class Stuck(Toy):
        def op_grow(self, n: int) -> Outcome:
            return Outcome(-1, ending="hang", detail=f"in {self.rule.__name__}()")

    assert run(Stuck(plenty), Stuck(greedy), GROW, TAKE) is None
    found = run(Stuck(plenty), Toy(plenty), GROW)
    assert found is not None
    assert [d.field for d in found.differences] == [
        "outcome.ending",
        "outcome.ret",
        "outcome.detail",
    ]


def test_systems_with_different_sections_are_compared_in_what_both_have() -> None:
    assert run(Toy(plenty), Narrow(plenty), TAKE, pages=3) is None
    found = run(Narrow(plenty), Forgetful(greedy), Op("take", {"who": "A", "n": 1}), TAKE)
    assert found is None
    found = run(Narrow(plenty), Generous(plenty), TAKE)
    assert found is not None
    assert found.first.field == "pool.free"


def test_a_system_that_raises_is_a_fault_of_ours() -> None:
    give = Op("give", {"who": "A"})
    with pytest.raises(FaultError) as caught:
        run(Toy(plenty), Raising(plenty), give)
    text = "the system after the patch raised KeyError: 'A', in op 0 (give who=A)"
    assert str(caught.value) == text
    assert caught.value.sort == "the system after the patch raised KeyError"
    with pytest.raises(FaultError, match="the system before the patch raised"):
        run(Raising(plenty), Toy(plenty), give)


def test_a_system_that_raises_at_boot_is_a_fault_of_ours() -> None:
    class Unbootable(Toy):
        def boot(self, world: Args) -> None:
            raise ZeroDivisionError("no clock")

    with pytest.raises(FaultError) as caught:
        run(Toy(plenty), Unbootable(plenty))
    assert str(caught.value) == (
        "the system after the patch raised ZeroDivisionError: no clock, at boot of world pages=2"
    )


def test_a_digest_that_says_more_than_the_observation_is_a_fault_of_ours() -> None:
    with pytest.raises(FaultError, match=r"digests differ after op -1 \(world pages=2\), but no"):
        run(VagueDigest(plenty), VagueDigest(plenty))


def test_a_digest_that_says_less_than_the_observation_is_found_by_the_audit() -> None:
    before, after = BlindDigest(plenty), Forgetful(plenty)
    after.digest = lambda relation: after.free  # type: ignore[method-assign]
    lockstep = Lockstep(before, after, oracle(before, after))
    assert lockstep.run(Trace("toy", {"pages": 3}, (TAKE,))) is None
    with pytest.raises(FaultError, match=r"digests agree, but holders\.A differs after op 0"):
        lockstep.audit()


def test_a_world_that_cannot_boot_is_told() -> None:
    with pytest.raises(WorldError, match="pages is 99, expected 0 to 8"):
        run(Toy(plenty), Toy(plenty), pages=99)


def test_a_divergence_lists_a_bounded_number_of_fields() -> None:
    class Crowded(Toy):
        def observe(self) -> Observation:
            return {"pool": {"list": [id(self)] * 1000}}

    found = run(Crowded(plenty), Crowded(plenty), GROW, TAKE)
    assert found is None
    one, other = Crowded(plenty), Crowded(greedy)
    found = run(one, other, TAKE)
    assert found is not None
    assert len(found.differences) == MAX_DIFFERENCES


def test_where_in_the_source_something_ended_is_not_compared() -> None:
    """Code that only moved is the same code."""
    one = Outcome(-1, ending="crash", detail="invalid access in f (a.c)", place="a.c:10")
    assert one.alike(one._replace(place="a.c:11"))
    assert not one.alike(one._replace(detail="invalid access in g (a.c)"))
