"""The evidence of a pair in a few words: what was to be shown, and how much of it was."""

from __future__ import annotations

from dataclasses import dataclass

from models.schema.result import FunctionCoverage, Pair, SideCoverage


@dataclass(frozen=True, slots=True)
class Tried:
    """One row of the summary; a dash stands where there was nothing to show."""

    pair: Pair
    code: str
    inputs: str
    goals: str
    mutants: str
    control: str


def tried(pair: Pair) -> Tried:
    """The summary of a pair."""
    found = pair.evidence
    rows = [row for predicate in found.predicates for row in predicate.rows]
    reached = sum(row.before_count + row.after_count > 0 for row in rows)
    unreachable = sum(row.unreachable is not None for row in rows)
    goals = sum(goal.reached for goal in found.goals)
    mutants = found.mutants
    return Tried(
        pair=pair,
        code=_code(found.coverage),
        inputs=_share(reached, len(rows), f"{unreachable} unreachable" if unreachable else ""),
        goals=_share(goals, len(found.goals)),
        mutants="none planted"
        if mutants is None
        else _share(mutants.killed, mutants.killed + mutants.survived, "caught"),
        control="agreed" if all(one.agreed for one in found.controls) else "did not agree",
    )


def _code(coverage: tuple[FunctionCoverage, ...]) -> str:
    """How many changed functions ran in full where they changed, and what did not run."""
    changed = [one for one in coverage if one.role != "caller"]
    owed = sum(_owed(side) for one in changed for side in (one.before, one.after))
    whole = f"{len(changed)} function{'s' if len(changed) != 1 else ''}"
    return f"{whole}, {owed} points did not run" if owed else f"all, in {whole}"


def _owed(side: SideCoverage | None) -> int:
    """The changed points of one side that did not run and have no reason."""
    if side is None:
        return 0
    return sum(missed.required and missed.reason is None for missed in side.missed)


def _share(part: int, whole: int, what: str = "") -> str:
    if not whole:
        return "-"
    return f"{part:,} of {whole:,}{f', {what}' if what else ''}"
