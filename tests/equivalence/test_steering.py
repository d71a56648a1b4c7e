"""Traces to vary are chosen by what they reached and by what is missing."""

from __future__ import annotations

from random import Random

from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.sampler import sample
from equivalence.search import Novel, Session, Side
from equivalence.steering import MAX_SEEDS, Seeds
from models.schema.trace import Op, Trace
from tests.toy import Toy, ToyGenerator, ToySubject, plenty


def trace(number: int) -> Trace:
    return Trace("toy", {"pages": number % 9}, (Op("grow", {"n": number}),))


def novel(number: int, *functions: str) -> Novel:
    return Novel(trace(number), frozenset(functions))


def test_those_near_what_is_missing_are_told_apart() -> None:
    seeds = Seeds([trace(0)])
    assert seeds.chosen(frozenset({"f"})) == ((trace(0),), ())
    seeds.add([novel(1, "f"), novel(2, "g"), novel(3, "f", "h")])
    every = tuple(map(trace, range(4)))
    assert seeds.chosen(frozenset({"f"})) == (every, (trace(1), trace(3)))
    assert seeds.chosen(frozenset({"g", "h"})) == (every, (trace(2), trace(3)))
    assert seeds.chosen(frozenset()) == (every, ())


def test_of_too_many_the_newest_are_taken() -> None:
    seeds = Seeds([trace(number) for number in range(2 * MAX_SEEDS)])
    every, near = seeds.chosen(frozenset({"f"}))
    assert every == tuple(map(trace, range(MAX_SEEDS)))
    seeds.add([novel(1000 + number, "f") for number in range(MAX_SEEDS + 1)])
    every, near = seeds.chosen(frozenset({"f"}))
    assert every == near == tuple(trace(1001 + number) for number in range(MAX_SEEDS))


def test_a_side_knows_of_which_functions_something_is_missing() -> None:
    side = Side({"f": frozenset("a"), "g": frozenset("ab")}, {}, {"f": frozenset("ab")})
    side.add(Side({}, {}, {"g": frozenset("ab"), "h": frozenset("x")}))
    assert side.wanting == {"f", "h"}
    side.add(Side({"h": frozenset("x"), "f": frozenset("b")}))
    assert side.wanting == set()


class Taking(ToyGenerator):
    """Left alone it seldom gives back."""

    def op(self, rng: Random, kind: str | None = None) -> Op:
        return super().op(rng, kind or ("give" if rng.random() < 0.02 else "take"))


def gives(near: tuple[Trace, ...]) -> int:
    """How many of 2,000 operations give back, with one trace of gives to vary."""
    subject = ToySubject()
    one, two = Toy(plenty), Toy(plenty)
    session = Session(subject, Lockstep(one, two, oracle_for(one, two, "user", frozenset())))
    sample(session, Taking(), Random(1), 2000, (GIVES,), near)
    outcomes = session.close().outcomes
    return sum(count for (kind, _), count in outcomes.items() if kind == "give")


GIVES = Trace("toy", {"pages": 3}, tuple(Op("give", {"who": who}) for who in "ABC"))


def test_steered_traces_go_on_with_operations_of_their_kinds() -> None:
    assert gives((GIVES,)) > 2 * gives(())
