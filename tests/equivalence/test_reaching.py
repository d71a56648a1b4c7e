"""Traces to the inputs on which a changed predicate answers differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from equivalence.reaching import differing, reaching
from equivalence.subject import Predicate, WorldError
from models.schema.trace import Args, Op, Scalar, Trace
from tests.toy_port import ToySubject

LARGE = Predicate("large", ("n",), ((0,), (1,), (2,)), lambda n: n > 0, lambda n: n > 1)
SAME = Predicate("same", ("n",), ((0,), (1,)), bool, lambda n: n == 1)
ROW = ("large", (1,))


class System:
    """Evaluates the predicate on the argument of every operation."""

    def __init__(self) -> None:
        self.found: Counter[tuple[Scalar, ...]] = Counter()

    def boot(self, world: Args) -> None:
        if world.get("pages") == 9:
            raise WorldError("too many")

    def apply(self, op: Op) -> None:
        if "n" in op.args:
            self.found[(op.args["n"],)] += 1

    def forget(self) -> None:
        self.found.clear()

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        return {"large": self.found}

    def coverable(self) -> Any: ...

    def covered(self) -> Any: ...

    def progress(self) -> Any: ...


def take(n: int) -> Op:
    return Op("take", {"proc": "A", "n": n})


LONG = Trace("toy", {"pages": 3}, (Op("give", {"proc": "B"}), take(2), take(1), take(1)))


def reached(trace: Trace, stop: bool = False, system: Any = None) -> dict[Any, Trace]:
    systems = [object(), system or System()]
    return reaching((LARGE, SAME), {ROW: trace}, systems, ToySubject(), lambda: stop)  # type: ignore[arg-type]


def test_inputs_that_differ_are_found_by_enumeration() -> None:
    assert list(differing([LARGE, SAME])) == [ROW]


def test_a_trace_to_a_differing_input_is_made_smaller() -> None:
    assert reached(LONG)[ROW].ops == (take(1),)
    assert reached(LONG)[ROW].world == {}
    assert reached(LONG, stop=True) == {ROW: LONG.with_ops(LONG.ops[:3])}


@pytest.mark.parametrize(
    "trace",
    [
        LONG.with_ops((take(2),)),
        LONG.with_world({"pages": 9}),
        Trace("toy", {"pages": 3}, (take(1), take(1)), "0-2/1.1"),
    ],
)
def test_what_does_not_reach_it_again_is_no_trace_to_it(trace: Trace) -> None:
    assert reached(trace) == {}


def test_an_input_that_no_search_reached_has_no_trace() -> None:
    assert reaching((LARGE,), {}, [], ToySubject(), lambda: False) == {}
