"""Each failure mode that a pass is there for, as a table: trace, what fails, minimal trace."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from equivalence.shrink import Shrinker, cost
from equivalence.subject import OpSpec
from models.schema.trace import Op, Scalar, Trace, parse_trace

NAMES = ("A", "B", "C", "D")
SIZES = (0, 1, 2, 3, 4, 5, 6, 7, 8)
OPS = {
    spec.kind: spec
    for spec in (
        OpSpec("add", {"to": NAMES, "n": SIZES, "flag": (1,)}, frozenset({"to", "n"}), "add"),
        OpSpec("move", {"to": NAMES, "of": NAMES, "n": SIZES}, frozenset({"to", "of"}), "rename"),
        OpSpec("nop", {}, frozenset(), "nothing"),
        OpSpec("fail", {"to": NAMES, "n": SIZES}, frozenset(), "where it may fail"),
    )
}
WORLDS: Mapping[str, Sequence[Scalar]] = {
    "pool": SIZES,
    "spare": SIZES,
    "mode": ("off", "some", "on"),
}
Fails = Callable[[Trace], int | None]


def read(text: str) -> Trace:
    return parse_trace("equivcheck-trace/1 toy\n" + "\n".join(text.split("; ")))


def text(trace: Trace) -> str:
    return "; ".join(
        [
            " ".join(["world", *(f"{k}={v}" for k, v in trace.world.items())]),
            *map(str, trace.ops),
        ]
    )


def when(condition: Callable[[dict[str, int], Op, Trace], bool]) -> Fails:
    """Fails at the first ``fail`` at which ``condition`` holds of sums, op and trace."""

    def fails(trace: Trace) -> int | None:
        sums: dict[str, int] = {}
        for index, op in enumerate(trace.ops):
            to, n = str(op.args.get("to", "")), op.args.get("n", 0)
            assert isinstance(n, int)
            if op.kind == "add":
                sums[to] = sums.get(to, 0) + n
            elif op.kind == "move":
                sums[to] = sums.pop(str(op.args["of"]), 0) + n
                if op.args["of"] == to:
                    del sums[to]
            elif op.kind == "fail" and condition(sums, op, trace):
                return index
        return None

    return fails


def number(trace: Trace, key: str = "pool") -> int:
    value = trace.world.get(key, 0)
    assert isinstance(value, int)
    return value


def has(sums: dict[str, int], op: Op) -> int:
    return sums.get(str(op.args.get("to")), 0)


ALWAYS = when(lambda sums, op, trace: True)
TWO = when(lambda sums, op, trace: has(sums, op) >= 2)
TWICE = when(lambda sums, op, trace: has(sums, op) >= 2 <= sum(o.kind == "add" for o in trace.ops))
MOVED = when(
    lambda sums, op, trace: any(
        o.kind == "move" and o.args["to"] != o.args["of"] for o in trace.ops
    )
)
SOME = when(lambda sums, op, trace: trace.world.get("mode") in ("some", "on"))
# The number added, the number at the failure and the pool only fit together.
EXACT = when(lambda sums, op, trace: has(sums, op) == op.args.get("n") == number(trace) > 0)
# As many additions as the pool is large.
EACH = when(lambda sums, op, trace: sum(o.kind == "add" for o in trace.ops) == number(trace) >= 2)
# Starts with the pool; additions to D add to it.
FULL = when(lambda sums, op, trace: number(trace) + sums.get("D", 0) == 4)
# An even number of operations before it.
EVEN = when(lambda sums, op, trace: len(trace.ops) % 2 == 1)
# Two names, different ones, and the first comes first in the trace.
BOTH = when(lambda sums, op, trace: len(sums) == 2 and min(sums.values()) >= 1)
# Reaches just beyond what was added, whatever that is.
BEYOND = when(lambda sums, op, trace: op.args.get("n") == has(sums, op) + 1)
# A page from either place.
EITHER = when(lambda sums, op, trace: number(trace) + number(trace, "spare") >= 2)
# A flag set before, or a second operation.
FLAG = when(
    lambda sums, op, trace: (
        any("flag" in o.args for o in trace.ops)
        or sum(o.kind == "nop" for o in trace.ops) >= 1 <= len(sums)
    )
)


@pytest.mark.parametrize(
    ("trace", "fails", "minimal"),
    [
        pytest.param(
            "world pool=5 mode=on; nop; add to=A n=3; fail; nop; nop",
            ALWAYS,
            "world; fail",
            id="everything behind the failure goes, and all before it that does not matter",
        ),
        pytest.param(
            "world pool=0; add to=B n=7; nop; nop; add to=A n=3 flag=1; nop; fail to=A n=4",
            TWO,
            "world; add to=A n=2; fail to=A",
            id="arguments are dropped and lowered",
        ),
        pytest.param(
            "world pool=0; add to=B n=2; fail to=B",
            TWO,
            "world; add to=A n=2; fail to=A",
            id="names are lowered together",
        ),
        pytest.param(
            "world pool=5; add to=A n=5; fail to=A n=5",
            EXACT,
            "world pool=1; add to=A n=1; fail to=A n=1",
            id="equal numbers are lowered together, in the world too",
        ),
        pytest.param(
            "world pool=4; add to=B n=0; add to=B n=0; add to=A n=2; add to=D n=1; fail",
            EACH,
            "world pool=2; add to=A n=0; add to=A n=0; fail",
            id="an operation goes and numbers shift down in step",
        ),
        pytest.param(
            "world pool=1; add to=D n=3; fail",
            FULL,
            "world pool=4; fail",
            id="an operation is absorbed by the world",
        ),
        pytest.param(
            "world pool=0; nop; nop; nop; nop; nop; nop; fail",
            EVEN,
            "world; fail",
            id="two operations go where neither can go alone",
        ),
        pytest.param(
            "world; add to=A n=2; move to=B of=A; fail to=B",
            TWO,
            "world; add to=A n=2; fail to=A",
            id="one of two names takes over",
        ),
        pytest.param(
            "world; add to=A n=1; move to=B of=A n=1; add to=B n=0; fail to=B",
            TWICE,
            "world; add to=A n=1; add to=A n=1; fail to=A",
            id="one of two names takes over, and its first user what was done on the way",
        ),
        pytest.param(
            "world; move to=B of=C n=1; nop; fail",
            MOVED,
            "world; move to=A of=B; fail",
            id="an operation on two names stays if it must",
        ),
        pytest.param(
            "world mode=on; fail",
            SOME,
            "world mode=some; fail",
            id="a value of the world goes down",
        ),
        pytest.param(
            "world; add to=B n=2; add to=A n=1; fail",
            BOTH,
            "world; add to=A n=1; add to=B n=1; fail",
            id="names are exchanged, or neighbours",
        ),
        pytest.param(
            "world; add to=A n=0; nop; fail",
            FLAG,
            "world; add to=A n=0 flag=1; fail",
            id="an operation becomes an argument of another",
        ),
        pytest.param(
            "world; add to=A n=4; fail to=A n=5",
            BEYOND,
            "world; fail n=1",
            id="two arguments go down by as much",
        ),
        pytest.param(
            "world mode=on spare=3; nop; fail",
            EITHER,
            "world pool=2; fail",
            id="one value of the world goes down and another one up",
        ),
    ],
)
def test_passes(trace: str, fails: Fails, minimal: str) -> None:
    shrinker = Shrinker(read(trace), fails, OPS, WORLDS)
    assert text(shrinker.run()) == minimal
    assert shrinker.complete


def test_names_that_cannot_stand_everywhere_are_not_merged() -> None:
    ops = {
        "add": OpSpec("add", {"to": NAMES, "n": SIZES}, frozenset({"to", "n"}), "add"),
        "fail": OpSpec("fail", {"to": ("B", "C")}, frozenset({"to"}), "fail"),
    }
    trace = read("world pool=0; add to=C n=2; fail to=C")
    assert text(Shrinker(trace, TWO, ops, WORLDS).run()) == "world; add to=B n=2; fail to=B"


def test_what_is_outside_of_every_domain_is_brought_inside() -> None:
    trace = read("world pool=99; add to=Z n=77; fail to=Z")
    assert text(Shrinker(trace, TWO, OPS, WORLDS).run()) == "world; add to=A n=2; fail to=A"


def test_quadratic_passes_leave_long_traces_alone() -> None:
    """Sixty operations none of which can go: only single changes are tried."""
    size = 61
    fails = when(lambda sums, op, trace: len(trace.ops) >= size)
    long = read("world pool=0; " + "; ".join(["nop"] * (size - 1)) + "; fail n=3")
    shrinker = Shrinker(long, fails, OPS, WORLDS)
    assert len(shrinker.run().ops) == size
    assert shrinker.runs < 3 * size


def test_a_failure_at_boot_needs_no_operation() -> None:
    trace = read("world pool=7; nop; nop")
    shrinker = Shrinker(trace, lambda t: -1 if number(t) >= 3 else None, OPS, WORLDS)
    assert text(shrinker.run()) == "world pool=3"


def test_the_same_trace_is_never_run_twice_and_the_search_is_deterministic() -> None:
    runs: list[list[str]] = []
    for _ in range(2):
        seen: list[str] = []

        def fails(trace: Trace, seen: list[str] = seen) -> int | None:
            seen.append(text(trace))
            return EXACT(trace)

        start = read("world pool=5 mode=on; nop; add to=C n=5; nop; fail to=C n=5")
        Shrinker(start, fails, OPS, WORLDS).run()
        runs.append(seen)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(runs[0])


def test_the_result_is_a_fixpoint() -> None:
    start = read("world pool=5 mode=on; nop; add to=C n=5; add to=D n=1; fail to=C n=5")
    once = Shrinker(start, EXACT, OPS, WORLDS).run()
    assert Shrinker(once, EXACT, OPS, WORLDS).run() == once


def test_a_limit_or_a_stop_leaves_the_best_so_far() -> None:
    start = read("world pool=5 mode=on; " + "nop; " * 20 + "fail to=C n=5")
    limited = Shrinker(start, ALWAYS, OPS, WORLDS, limit=3)
    assert len(limited.run().ops) < 21
    assert (limited.runs, limited.complete) == (3, False)
    stopped = Shrinker(start, ALWAYS, OPS, WORLDS, stop=lambda: True)
    assert stopped.run() == start
    assert not stopped.complete


def test_what_does_not_fail_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match="the trace to shrink does not show the failure"):
        Shrinker(read("world pool=0; nop"), ALWAYS, OPS, WORLDS).run()


def test_cost_prefers_operations_then_arguments_then_sizes_then_the_world_then_order() -> None:
    texts = [
        "world pool=8; fail",
        "world; fail n=0",
        "world; fail n=1",
        "world pool=1; fail n=1",
        "world spare=1; fail n=1",
        "world pool=0 spare=0; fail n=1",
        "world; fail to=A n=0",
        "world; nop; fail",
        "world; fail; nop",
    ]
    costs = [cost(read(one), OPS, WORLDS) for one in texts]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
