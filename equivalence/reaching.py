"""Traces that reach the inputs on which a changed predicate answers differently.

That a predicate differs on some input and that it does so on a state that can be reached are two
findings. For the second there is a trace: an exploration keeps a shortest one of every input; what
other searches met first is made smaller here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from equivalence.search import Row
from equivalence.shrink import Shrinker
from equivalence.subject import Evidence, Predicate, Subject, System, WorldError
from models.schema.trace import Trace

#: How many traces are run to make one smaller.
LIMIT: Final = 400


def differing(predicates: Iterable[Predicate]) -> Iterator[Row]:
    """The inputs on which the old and the new answer differ."""
    for predicate in predicates:
        for inputs in predicate.domain:
            if bool(predicate.old(*inputs)) != bool(predicate.new(*inputs)):
                yield predicate.name, inputs


def reaching(
    predicates: Iterable[Predicate],
    reached: Mapping[Row, Trace],
    systems: Iterable[System],
    subject: Subject,
    stop: Callable[[], bool],
) -> dict[Row, Trace]:
    """A small trace to each differing input that was reached, on any of the systems.

    Where running a trace again does not reach the input, as it took operations that ran together,
    there is none.
    """
    measuring = list(systems)
    found: dict[Row, Trace] = {}
    for row in differing(predicates):
        trace = reached.get(row)
        for system in measuring if trace is not None else ():
            assert trace is not None
            if _index(system, trace, row) is not None:
                found[row] = _smaller(system, trace, row, subject, stop)
                break
    return found


def _smaller(
    system: System, trace: Trace, row: Row, subject: Subject, stop: Callable[[], bool]
) -> Trace:
    def fails(candidate: Trace) -> int | None:
        return _index(system, candidate, row)

    return Shrinker(trace, fails, subject.ops, subject.worlds, LIMIT, stop).run()


def _index(system: System, trace: Trace, row: Row) -> int | None:
    """The operation in which a system evaluates a predicate with a row's inputs; None: it never
    does, or the trace cannot be run here."""
    if trace.schedule or not isinstance(system, Evidence):
        return None
    name, inputs = row
    system.forget()
    try:
        system.boot(trace.world)
    except WorldError:
        return None
    for index, op in enumerate(trace.ops):
        system.apply(op)
        if inputs in system.rows().get(name, {}):
            return index
    return None
