"""Changed conditions and planted bugs in sentences: what they say of the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from models.schema.result import MutantEvidence, Pair, PredicateEvidence, PredicateRow
from reports.text import one_line, pair_name, trace_lines

#: Inputs of one condition that are named; result.json has all.
MAX_ROWS: Final = 8


def condition_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Of all changed conditions: how many answer alike, and on which inputs others differ."""
    found: dict[tuple[str, int], PredicateEvidence] = {}
    for pair in pairs:
        for predicate in pair.evidence.predicates:
            key = predicate.name, predicate.differing_reached
            found.setdefault(key, predicate)
    if not found:
        return
    every = list(found.values())
    alike = sum(predicate.equal_everywhere for predicate in every)
    yield f"Changed conditions: {alike} of {len(every)} give the same answer on every input."
    for predicate in every:
        if not predicate.equal_everywhere:
            yield from (f"  {line}" for line in _differing(predicate))


def _differing(predicate: PredicateEvidence) -> Iterator[str]:
    rows = [row for row in predicate.rows if row.old != row.new]
    share = f"{len(rows)} of {len(predicate.rows)} inputs"
    reached = f"{predicate.differing_reached} reached"
    yield f"{one_line(predicate.name, 80)}: differs on {share}, {reached}"
    for row in rows[:MAX_ROWS]:
        given = " ".join(
            f"{one_line(name, 40)}={one_line(str(value), 40)}"
            for name, value in zip(predicate.inputs, row.inputs, strict=False)
        )
        answers = f"{str(row.old).lower()} before, {str(row.new).lower()} after"
        yield f"  ({given}): {answers}; {reach_text(predicate, row)}"
    if len(rows) > MAX_ROWS:
        yield f"  and {len(rows) - MAX_ROWS} more inputs"


def reach_text(predicate: PredicateEvidence, row: PredicateRow) -> str:
    """Whether an input was reached, and if not, what is known of that."""
    count = row.before_count + row.after_count
    if count:
        by = "" if row.reached_by is None else f", by a trace of {_ops(row.reached_by)} ops"
        return f"reached {count:,} times{by}"
    if row.unreachable is not None:
        return f"unreachable: {one_line(row.unreachable, 300)}"
    if predicate.explored:
        worlds = ", ".join(one_line(world, 40) for world in predicate.explored[:MAX_ROWS])
        return f"unreachable in the worlds {worlds}, which were explored to their fixpoint"
    return "not reached"


def _ops(trace: str) -> int:
    """How many operations the text of a trace has: its head and world lines are none."""
    return sum(not line.startswith(("world", "schedule")) for line in trace_lines(trace))


def mutant_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """How many planted bugs were caught, for each pair in which some were planted."""
    checked = [pair for pair in pairs if pair.against != "self"]
    planted = [(pair, pair.evidence.mutants) for pair in checked]
    if all(mutants is None for _, mutants in planted):
        if checked:
            yield "Planted bugs: none in this run (profiles ci and nightly plant some)."
        return
    for pair, mutants in planted:
        if mutants is not None:
            yield f"Planted bugs, {pair_name(pair)}: {mutants_text(mutants)}"


def mutants_text(found: MutantEvidence) -> str:
    """A score in a sentence."""
    tried = found.killed + found.survived + found.explained
    parts = [f"{found.killed} of {tried} caught"]
    if found.explained:
        parts.append(f"{found.explained} cannot be told from the original")
    if found.survived:
        names = "; ".join(one_line(name, 120) for name in found.survivors[:MAX_ROWS])
        parts.append(f"{found.survived} not caught: {names}")
    if found.not_compiled:
        parts.append(f"{found.not_compiled} more would not compile")
    if found.not_tried:
        parts.append(f"{found.not_tried} not tried")
    return ", ".join(parts) + "."
