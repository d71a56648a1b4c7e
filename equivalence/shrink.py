"""Makes a failing trace minimal, whichever search found it.

What may be done to a trace, in this order of preference: fewer operations, then fewer arguments,
then smaller arguments, then a smaller world. "Smaller" is the position in the domain that the
subject gives for an argument. All this is one cost (:func:`cost`), a trace is taken only when its
cost is lower than the best so far, so the search ends, and it is deterministic: it tries the same
traces in the same order and draws nothing.

The predicate says where the *same* failure happens (operation kind, field, function), never merely
that something fails; everything behind that operation is cut off at once. Each trace is run once:
results are remembered by the trace's text.

Passes, and the failure mode that each is there for:

- ``_blocks`` deletes runs of operations, long ones first, from the end. Deleting one never makes
  the rest illegal, because operations are legal in any state: a touch of a mapping that is gone is
  refused.
- ``_pairs`` deletes two operations at once: what one does the other takes back (grow and shrink,
  mount and umount), so neither can go alone.
- ``_names`` merges two names, so that an operation that only made the second one can go. Deleting
  it alone would leave its users without what they use.
- ``_optional`` drops arguments, ``_values`` lowers one.
- ``_together`` lowers equal numbers in all operations and the world at once, and shifts all numbers
  from some size on down by one: a pool of three and a mapping of three pages only shrink in step.
- ``_shift`` deletes an operation and shifts: three touches of three pages become two of two.
- ``_absorb`` deletes an operation and starts in another world: one that has from boot what the
  operation made.
- ``_world`` lowers one value of the world.

A pass that made no progress makes none if it is run again at once; the passes are repeated until a
whole round makes none, or until ``limit`` traces were run or ``stop`` says so (then ``complete``
is False). The result is minimal for these passes, not the smallest possible trace: two changes that
only work together and that no pass tries together stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from equivalence.subject import OpSpec
from models.schema.trace import Args, Op, Scalar, Trace, format_trace

#: Where the failure happens: index of the operation (-1: at boot), or None.
Fails = Callable[[Trace], int | None]
Cost = tuple[int, int, int, tuple[int, ...], int]

LIMIT: Final = 5_000
#: Quadratic passes run only on traces at most this long.
SHORT: Final = 32


class Shrinker:
    """One shrinking of one trace.

    ``best`` is the smallest trace so far that fails in the same way, ``runs`` how many traces were
    run, ``complete`` whether the passes ended by themselves.
    """

    def __init__(
        self,
        trace: Trace,
        fails: Fails,
        ops: Mapping[str, OpSpec],
        worlds: Mapping[str, Sequence[Scalar]],
        limit: int = LIMIT,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.best = trace
        self.runs = 0
        self.complete = True
        self._fails = fails
        self._ops = ops
        self._worlds = worlds
        self._limit = limit
        self._stop = stop
        self._tried: set[str] = set()
        self._best_cost = cost(trace, ops, worlds)

    def run(self) -> Trace:
        """The smallest trace that the passes reach.

        Raises:
            ValueError: the trace does not fail in the first place.
        """
        index = self._fails(self.best)
        if index is None:
            msg = "the trace to shrink does not show the failure"
            raise ValueError(msg)
        self._take(self.best.with_ops(self.best.ops[: index + 1]))
        passes = (
            self._blocks,
            self._pairs,
            self._names,
            self._optional,
            self._values,
            self._together,
            self._shift,
            self._absorb,
            self._world,
        )
        progress = True
        while progress and self.complete:
            start = self._best_cost
            for one in passes:
                one()
            progress = self._best_cost < start
        return self.best

    def consider(self, trace: Trace) -> bool:
        """Take a trace if it is smaller and fails in the same way; whether it was taken."""
        if not cost(trace, self._ops, self._worlds) < self._best_cost:
            return False
        key = format_trace(trace)
        if key in self._tried:
            return False
        if self.runs >= self._limit or self._stop():
            self.complete = False
            return False
        self.runs += 1
        index = self._fails(trace)
        self._tried.add(key)
        if index is None:
            return False
        self._take(trace.with_ops(trace.ops[: index + 1]))
        return True

    def _take(self, trace: Trace) -> None:
        self.best = trace
        self._best_cost = cost(trace, self._ops, self._worlds)

    def _blocks(self) -> None:
        size = max(1, len(self.best.ops) // 2)
        while size:
            end = len(self.best.ops)
            while end > 0:
                ops = self.best.ops
                end = min(end, len(ops))
                self.consider(self.best.with_ops(ops[: max(0, end - size)] + ops[end:]))
                end -= size
            size //= 2

    def _pairs(self) -> None:
        if len(self.best.ops) <= SHORT:
            for second in range(len(self.best.ops) - 1, 0, -1):
                for first in range(second - 1, -1, -1):
                    self.consider(_without(_without(self.best, second), first))

    def _names(self) -> None:
        for old, new in self._mergeable():
            self.consider(_renamed(self.best, old, new))

    def _mergeable(self) -> Iterator[tuple[str, str]]:
        """Names in use and the smaller ones that may stand wherever they stand."""
        places: dict[str, list[Sequence[Scalar]]] = {}
        for op in self.best.ops:
            for key, value in op.args.items():
                domain = self._ops[op.kind].domains.get(key, ())
                if isinstance(value, str):
                    places.setdefault(value, []).append(domain)
        for old, domains in sorted(places.items(), reverse=True):
            for new in domains[0]:
                if new == old:
                    break
                if isinstance(new, str) and all(new in domain for domain in domains):
                    yield old, new

    def _optional(self) -> None:
        for index, key in self._places():
            op = self.best.ops[index]
            if key not in self._ops[op.kind].required:
                args = {k: v for k, v in op.args.items() if k != key}
                self.consider(_with_op(self.best, index, Op(op.kind, args)))

    def _values(self) -> None:
        for index, key in self._places():
            op = self.best.ops[index]
            for value in _lower(op.args[key], self._ops[op.kind].domains.get(key, ())):
                if self.consider(_with_op(self.best, index, Op(op.kind, {**op.args, key: value}))):
                    break

    def _places(self) -> list[tuple[int, str]]:
        """Index and key of every argument, last operation first.

        Changing an operation cannot make an earlier one fail, so the places that are left stay
        there when a trace is taken.
        """
        ops = self.best.ops
        return [(index, key) for index in range(len(ops) - 1, -1, -1) for key in ops[index].args]

    def _together(self) -> None:
        for number in self._numbers():
            for less in range(number):
                if self.consider(self._mapped(self.best, {number: less})):
                    break
            self.consider(self._shifted(self.best, number))

    def _shift(self) -> None:
        if len(self.best.ops) <= SHORT:
            for index in range(len(self.best.ops) - 1, -1, -1):
                for number in self._numbers():
                    self.consider(self._shifted(_without(self.best, index), number))

    def _absorb(self) -> None:
        if len(self.best.ops) <= SHORT:
            for index in range(len(self.best.ops) - 1, -1, -1):
                for key in self.best.world:
                    for value in self._worlds.get(key, ()):
                        world = {**self.best.world, key: value}
                        self.consider(_without(self.best, index).with_world(world))

    def _world(self) -> None:
        for key in self.best.world:
            for value in _lower(self.best.world[key], self._worlds.get(key, ())):
                if self.consider(self.best.with_world({**self.best.world, key: value})):
                    break

    def _numbers(self) -> list[int]:
        """Positive numbers in the trace, largest first; huge ones do not move in steps of one."""
        places: list[Args] = [self.best.world, *(op.args for op in self.best.ops)]
        found = {v for args in places for v in args.values() if isinstance(v, int) and 0 < v <= 64}
        return sorted(found, reverse=True)

    def _shifted(self, trace: Trace, number: int) -> Trace:
        top = max(64, number)
        return self._mapped(trace, {n: n - 1 for n in range(number, top + 1)})

    def _mapped(self, trace: Trace, table: Mapping[int, int]) -> Trace:
        """Numbers replaced wherever the replacement is in the argument's domain."""
        world = _mapped_args(trace.world, table, self._worlds)
        ops = [
            Op(op.kind, _mapped_args(op.args, table, self._ops[op.kind].domains))
            for op in trace.ops
        ]
        return trace.with_world(world).with_ops(ops)


def cost(trace: Trace, ops: Mapping[str, OpSpec], worlds: Mapping[str, Sequence[Scalar]]) -> Cost:
    """What shrinking lowers: operations, arguments, their sizes in sum and in order, the world."""
    ranks = tuple(
        _rank(value, ops[op.kind].domains.get(key, ()))
        for op in trace.ops
        for key, value in op.args.items()
    )
    world = sum(_rank(value, worlds.get(key, ())) for key, value in trace.world.items())
    return len(trace.ops), len(ranks), sum(ranks), ranks, world


def _rank(value: Scalar, domain: Sequence[Scalar]) -> int:
    if value in domain:
        return domain.index(value)
    return len(domain) + (abs(value) if isinstance(value, int) else 0)


def _lower(value: Scalar, domain: Sequence[Scalar]) -> Sequence[Scalar]:
    """The values before ``value`` in its domain, smallest first; all, if it is not in it."""
    return domain[: domain.index(value)] if value in domain else domain


def _mapped_args(
    args: Args, table: Mapping[int, int], domains: Mapping[str, Sequence[Scalar]]
) -> dict[str, Scalar]:
    out = dict(args)
    for key, value in args.items():
        if isinstance(value, int) and value in table and table[value] in domains.get(key, ()):
            out[key] = table[value]
    return out


def _renamed(trace: Trace, old: str, new: str) -> Trace:
    return trace.with_ops(
        Op(op.kind, {key: new if value == old else value for key, value in op.args.items()})
        for op in trace.ops
    )


def _without(trace: Trace, index: int) -> Trace:
    """The trace without one operation; the same trace if it has become shorter than that."""
    return trace.with_ops(trace.ops[:index] + trace.ops[index + 1 :])


def _with_op(trace: Trace, index: int, op: Op) -> Trace:
    return trace.with_ops((*trace.ops[:index], op, *trace.ops[index + 1 :]))
