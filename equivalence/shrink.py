"""Makes a failing trace minimal, whichever search found it.

What may be done to a trace, in this order of preference: fewer operations, then fewer arguments,
then smaller arguments, then a smaller world, then operations in the order in which the subject
lists their kinds. "Smaller" is the position in the domain that the subject gives for an argument.
All this is one cost (:func:`cost`), a trace is taken only when its cost is lower than the best so
far, so the search ends, and it is deterministic: it tries the same traces in the same order and
draws nothing. So different searches that find one bug mostly end in one trace.

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
- ``_takeover`` deletes an operation that makes one thing of another (a fork, a mapping moved), and
  lets one of the two stand for both: before it, behind it, or behind it with its other arguments.
- ``_swaps`` exchanges two names.
- ``_fold`` deletes an operation and gives another one an optional argument: a mapping that is
  populated at once instead of touched later.
- ``_optional`` drops arguments, ``_values`` lowers one, ``_two`` lowers two by as much: an offset
  and the length that must reach just beyond it.
- ``_together`` lowers equal numbers at once (everywhere, in the operations, in arguments of one
  key), and shifts all numbers from some size on down by one: a pool of three and a mapping of three
  pages only shrink in step.
- ``_shift`` deletes an operation and shifts: three touches of three pages become two of two.
- ``_absorb`` deletes an operation and starts in another world: one that has from boot what the
  operation made.
- ``_world`` leaves values of the world to their defaults, lowers one, or lowers one and raises
  another.
- ``_order`` swaps neighbours.

A pass that made no progress makes none if it is run again at once; the passes are repeated until a
whole round makes none, or until ``limit`` traces were run or ``stop`` says so (then ``complete``
is False). The result is minimal for these passes, not the smallest possible trace: two changes that
only work together and that no pass tries together stay.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import combinations, permutations
from typing import Final

from equivalence.subject import OpSpec
from models.schema.trace import Args, Op, Scalar, Trace, format_trace

#: Where the failure happens: index of the operation (-1: at boot), or None.
Fails = Callable[[Trace], int | None]
Cost = tuple[int | tuple[int, ...] | tuple[tuple[int, ...], ...], ...]

LIMIT: Final = 5_000
#: Quadratic passes run only on traces at most this long, cubic ones only on much shorter ones.
SHORT: Final = 32
SHORTER: Final = 12


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
            self._takeover,
            self._swaps,
            self._fold,
            self._optional,
            self._values,
            self._two,
            self._together,
            self._shift,
            self._absorb,
            self._world,
            self._order,
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
        self.best = trace.with_ops(self._in_order(op) for op in trace.ops)
        self._best_cost = cost(trace, self._ops, self._worlds)

    def _in_order(self, op: Op) -> Op:
        """The same operation with its arguments in the order in which the subject lists them."""
        known = [key for key in self._ops[op.kind].domains if key in op.args]
        return Op(op.kind, {**{key: op.args[key] for key in known}, **op.args})

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

    def _takeover(self) -> None:
        for index in range(len(self.best.ops) - 1, -1, -1):
            for candidate in self._taken_over(index):
                if self.consider(candidate):
                    break

    def _taken_over(self, index: int) -> Iterator[Trace]:
        trace = self.best
        before, after = trace.ops[:index], trace.ops[index + 1 :]
        for gone in trace.ops[index : index + 1]:
            for old, new in self._named_alike(gone):
                yield trace.with_ops([*_rename_ops(before, old, new), *after])
                renamed = _rename_ops(after, old, new)
                yield trace.with_ops([*before, *renamed])
                user = next((i for i, op in enumerate(after) if old in op.args.values()), None)
                if user is not None:
                    domains = self._ops[after[user].kind].domains
                    more = {
                        k: v for k, v in gone.args.items() if isinstance(v, int) and k in domains
                    }
                    op = Op(after[user].kind, {**renamed[user].args, **more})
                    yield trace.with_ops([*before, *renamed[:user], op, *renamed[user + 1 :]])

    def _named_alike(self, op: Op) -> Iterator[tuple[str, str]]:
        """Pairs of names in one operation, each of which may stand for the other."""
        domains = self._ops[op.kind].domains
        names = [(k, v) for k, v in op.args.items() if isinstance(v, str)]
        for old_key, old in names:
            for new_key, new in names:
                if old != new and domains.get(old_key) == domains.get(new_key):
                    yield old, new

    def _swaps(self) -> None:
        for old, new in self._mergeable():
            self.consider(_swapped(self.best, old, new))

    def _fold(self) -> None:
        if len(self.best.ops) <= SHORTER:
            for index in range(len(self.best.ops) - 1, -1, -1):
                for given in self._more_given(index):
                    if self.consider(_without(given, index)):
                        break

    def _more_given(self, end: int) -> Iterator[Trace]:
        """The trace with one more optional argument in an operation before ``end``."""
        for place, op in enumerate(self.best.ops[:end]):
            for key, domain in self._ops[op.kind].domains.items():
                if key not in op.args:
                    for value in domain[:2]:
                        yield _with_op(self.best, place, _given(op, key, value))

    def _optional(self) -> None:
        for index, key in self._places():
            op = self.best.ops[index]
            if key not in self._ops[op.kind].required:
                args = {k: v for k, v in op.args.items() if k != key}
                self.consider(_with_op(self.best, index, Op(op.kind, args)))

    def _values(self) -> None:
        for index, key in self._places():
            op = self.best.ops[index]
            for value in _lower(op.args[key], self._domain(op, key)):
                if self.consider(_with_op(self.best, index, _given(op, key, value))):
                    break

    def _two(self) -> None:
        if len(self.best.ops) <= SHORTER:
            for first, second in combinations(self._places(), 2):
                while self.consider(self._lowered(self._lowered(self.best, *first), *second)):
                    pass

    def _lowered(self, trace: Trace, index: int, key: str) -> Trace:
        """One argument lowered by one, if it is a number and that is in its domain."""
        op = trace.ops[index]
        value = op.args[key]
        if isinstance(value, int) and value - 1 in self._domain(op, key):
            return _with_op(trace, index, _given(op, key, value - 1))
        return trace

    def _domain(self, op: Op, key: str) -> Sequence[Scalar]:
        return self._ops[op.kind].domains.get(key, ())

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
                table = {number: less}
                keys = dict.fromkeys(key for op in self.best.ops for key in op.args)
                if (
                    self.consider(self._mapped(self.best, table))
                    or self.consider(self._mapped(self.best, table, keys))
                    or any(self.consider(self._mapped(self.best, table, (key,))) for key in keys)
                ):
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
        for key in list(self.best.world):
            rest = {k: v for k, v in self.best.world.items() if k != key}
            if not self.consider(self.best.with_world(rest)):
                for value in _lower(self.best.world[key], self._worlds.get(key, ())):
                    if self.consider(self.best.with_world({**self.best.world, key: value})):
                        break
        for one, other in permutations(self._worlds, 2):
            if one in self.best.world:
                rest = {k: v for k, v in self.best.world.items() if k != one}
                lower = [
                    rest,
                    *({**rest, one: v} for v in _lower(self.best.world[one], self._worlds[one])),
                ]
                for world in lower:
                    for value in self._worlds[other]:
                        self.consider(self.best.with_world({**world, other: value}))

    def _order(self) -> None:
        for index in range(len(self.best.ops) - 1):
            ops = self.best.ops
            swapped = (*ops[:index], *ops[index : index + 2][::-1], *ops[index + 2 :])
            self.consider(self.best.with_ops(swapped))

    def _numbers(self) -> list[int]:
        """Positive numbers in the trace, largest first; huge ones do not move in steps of one."""
        places: list[Args] = [self.best.world, *(op.args for op in self.best.ops)]
        found = {v for args in places for v in args.values() if isinstance(v, int) and 0 < v <= 64}
        return sorted(found, reverse=True)

    def _shifted(self, trace: Trace, number: int) -> Trace:
        top = max(64, number)
        return self._mapped(trace, {n: n - 1 for n in range(number, top + 1)})

    def _mapped(
        self, trace: Trace, table: Mapping[int, int], keys: Container[str] | None = None
    ) -> Trace:
        """Numbers replaced wherever the replacement is in the argument's domain.

        ``keys`` limits that to these arguments of the operations.
        """
        if keys is None:
            trace = trace.with_world(_mapped_args(trace.world, table, self._worlds))
        return trace.with_ops(
            Op(op.kind, _mapped_args(op.args, table, self._ops[op.kind].domains, keys))
            for op in trace.ops
        )


def cost(trace: Trace, ops: Mapping[str, OpSpec], worlds: Mapping[str, Sequence[Scalar]]) -> Cost:
    """What shrinking lowers, most important first: operations, arguments, their sizes, the world's
    values and sizes (those of its last keys weigh most), the order of operations."""
    world = trace.world
    kinds = {kind: place for place, kind in enumerate(ops)}
    each = tuple(
        (
            kinds[op.kind],
            *(_rank(value, ops[op.kind].domains.get(key, ())) for key, value in op.args.items()),
        )
        for op in trace.ops
    )
    # A value that is not given weighs less than the smallest one.
    sizes = [_rank(world[key], worlds[key]) + 1 if key in world else 0 for key in worlds]
    return (
        len(each),
        sum(map(len, each)),
        sum(sum(ranks[1:]) for ranks in each),
        len(world),
        sum(sizes),
        tuple(reversed(sizes)),
        each,
    )


def _rank(value: Scalar, domain: Sequence[Scalar]) -> int:
    if value in domain:
        return domain.index(value)
    return len(domain) + (abs(value) if isinstance(value, int) else 0)


def _lower(value: Scalar, domain: Sequence[Scalar]) -> Sequence[Scalar]:
    """The values before ``value`` in its domain, smallest first; all, if it is not in it."""
    return domain[: domain.index(value)] if value in domain else domain


def _mapped_args(
    args: Args,
    table: Mapping[int, int],
    domains: Mapping[str, Sequence[Scalar]],
    keys: Container[str] | None = None,
) -> dict[str, Scalar]:
    out = dict(args)
    for key, value in args.items():
        if isinstance(value, int) and value in table and (keys is None or key in keys):
            less = table[value]
            out[key] = less if less in domains.get(key, ()) else value
    return out


def _renamed(trace: Trace, old: str, new: str) -> Trace:
    return trace.with_ops(_rename_ops(trace.ops, old, new))


def _rename_ops(ops: Sequence[Op], old: str, new: str) -> list[Op]:
    return [
        Op(op.kind, {key: new if value == old else value for key, value in op.args.items()})
        for op in ops
    ]


def _swapped(trace: Trace, one: str, other: str) -> Trace:
    table: dict[Scalar, Scalar] = {one: other, other: one}
    return trace.with_ops(
        Op(op.kind, {key: table.get(value, value) for key, value in op.args.items()})
        for op in trace.ops
    )


def _without(trace: Trace, index: int) -> Trace:
    """The trace without one operation; the same trace if it has become shorter than that."""
    return trace.with_ops(trace.ops[:index] + trace.ops[index + 1 :])


def _given(op: Op, key: str, value: Scalar) -> Op:
    return Op(op.kind, {**op.args, key: value})


def _with_op(trace: Trace, index: int, op: Op) -> Trace:
    return trace.with_ops((*trace.ops[:index], op, *trace.ops[index + 1 :]))
