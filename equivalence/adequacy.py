"""What a search must have shown before its silence means anything, and the verdict it earns.

The least that counts as adequate: the A/A control agreed; every changed line and every outcome of a
changed condition ran on both sides, or is listed with the reason why it cannot; every input of a
changed predicate was reached, or is listed as unreachable with the reason; every changed condition
is declared; every required goal was reached; the budget was spent. What is missing is named, each
thing in one sentence. A reason that the run itself refutes counts as missing too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from equivalence.search import Findings, Points, Rows, Side
from equivalence.subject import Change, Changes, Goal, Predicate
from models.schema.result import (
    Control,
    Evidence,
    FunctionCoverage,
    GoalEvidence,
    HunkEvidence,
    MissedPoint,
    MutantEvidence,
    PredicateEvidence,
    PredicateRow,
    Rung,
    SearchEvidence,
    SideCoverage,
    Verdict,
)
from models.schema.trace import Scalar

#: How many points or inputs one sentence names; the evidence has them all.
NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Search:
    """What a pair's searches were asked to do and what came of it."""

    findings: Findings
    budget: int
    searches: tuple[SearchEvidence, ...]
    controls: tuple[Control, ...]
    #: All points of the watched functions on either side; None: coverage is not measured.
    coverable: tuple[Points | None, Points | None]
    measured: str = ""
    #: Why the search ended before its budget was spent ("" if it did not).
    cut_short: str = ""
    #: Predicate and inputs -> the text of a shortest trace that evaluates it with them.
    reached: Mapping[tuple[str, tuple[Scalar, ...]], str] = field(default_factory=dict)
    #: Small worlds that were explored to their fixpoint.
    explored: tuple[str, ...] = ()


def gather(
    changes: Changes,
    search: Search,
    goals: Sequence[Goal],
    mutants: MutantEvidence | None = None,
) -> Evidence:
    """All evidence of one pair, and what is missing in it."""
    findings = search.findings
    sides = (findings.before, findings.after)
    predicates = tuple(
        _predicate(p, findings.before.rows, findings.after.rows, search) for p in changes.predicates
    )
    coverage = tuple(_coverage(change, search.coverable, sides) for change in changes.functions)
    return Evidence(
        searches=search.searches,
        outcomes={
            f"{kind} {ending}": count for (kind, ending), count in sorted(findings.outcomes.items())
        },
        predicates=predicates,
        coverage=coverage,
        measured=search.measured,
        goals=(
            *(
                GoalEvidence(
                    name=g.name,
                    about=g.about,
                    reached=g.name in findings.goals,
                    required=g.required,
                )
                for g in goals
            ),
            *map(_whole, coverage),
        ),
        mutants=mutants,
        controls=search.controls,
        hunks=tuple(
            HunkEvidence(where=h.where, fate=h.fate, reason=h.reason) for h in changes.hunks
        ),
        missing=tuple(_missing(changes, search, goals)),
    )


def judge(changes: Changes, evidence: Evidence, *, diverged: bool, declared: bool) -> Verdict:
    """The verdict on a pair that was searched, or whose code is the same."""
    if diverged:
        return Verdict.CHANGED_AS_DECLARED if declared else Verdict.DIVERGED
    if declared:
        return Verdict.DECLARED_BUT_UNSEEN
    if any(hunk.fate == "not hosted" for hunk in changes.hunks):
        return Verdict.NOT_CHECKED
    if changes.identical:
        return Verdict.IDENTICAL
    return Verdict.INADEQUATE if evidence.missing else Verdict.NO_DIVERGENCE


def rung(changes: Changes, evidence: Evidence, verdict: Verdict, *, fixpoint: bool = False) -> Rung:
    """The strongest thing that holds; ``fixpoint``: an exhaustive search met no bound."""
    if verdict in (Verdict.DIVERGED, Verdict.CHANGED_AS_DECLARED, Verdict.NOT_CHECKED):
        return "nothing"
    if changes.identical:
        return "identical code"
    proven = changes.only_predicates and not changes.undeclared and evidence.predicates
    if proven and all(predicate.equal_everywhere for predicate in evidence.predicates):
        return "predicates equal on every input"
    if verdict is Verdict.EXHAUSTED and fixpoint:
        return "fixpoint in the stated world"
    agreed = verdict in (Verdict.NO_DIVERGENCE, Verdict.EXHAUSTED)
    return "no divergence in N ops" if agreed else "nothing"


def _predicate(
    predicate: Predicate,
    before: Rows,
    after: Rows,
    search: Search,
) -> PredicateEvidence:
    none: Counter[tuple[Scalar, ...]] = Counter()
    counts = (before.get(predicate.name, none), after.get(predicate.name, none))
    rows = tuple(
        PredicateRow(
            inputs=inputs,
            old=bool(predicate.old(*inputs)),
            new=bool(predicate.new(*inputs)),
            before_count=counts[0][inputs],
            after_count=counts[1][inputs],
            unreachable=predicate.unreachable.get(inputs),
            reached_by=search.reached.get((predicate.name, inputs)),
        )
        for inputs in predicate.domain
    )
    differing = [row for row in rows if row.old != row.new]
    return PredicateEvidence(
        name=predicate.name,
        inputs=predicate.names,
        rows=rows,
        equal_everywhere=not differing,
        differing=len(differing),
        differing_reached=sum(map(_reached, differing)),
        reached=sum(map(_reached, rows)),
        explored=search.explored,
    )


def _reached(row: PredicateRow) -> bool:
    return row.before_count + row.after_count > 0


def _coverage(
    change: Change, coverable: tuple[Points | None, Points | None], sides: tuple[Side, Side]
) -> FunctionCoverage:
    required = (change.before, change.after)
    before, after = (
        _side(change, need, points, side)
        for need, points, side in zip(required, coverable, sides, strict=True)
    )
    return FunctionCoverage(function=change.function, role=change.role, before=before, after=after)


def _whole(coverage: FunctionCoverage) -> GoalEvidence:
    """The goal that all of a function ran, its error paths among it: changed lines are required
    anyway, the rest is told."""
    sides = (("before", coverage.before), ("after", coverage.after))
    owed = {
        name: [missed.point for missed in side.missed if missed.reason is None]
        for name, side in sides
        if side is not None
    }
    said = [
        f"{len(points)} did not {name} the patch: {_some(points, len(points))}"
        for name, points in owed.items()
        if points
    ]
    about = "every line and every outcome of a condition ran"
    return GoalEvidence(
        name=f"all of {coverage.function} runs",
        about="; ".join([about, *said]),
        reached=bool(owed) and not said,
        required=False,
    )


def _side(
    change: Change, required: frozenset[str], coverable: Points | None, side: Side
) -> SideCoverage | None:
    points = (coverable or {}).get(change.function)
    if points is None:
        return None
    reached = side.covered.get(change.function, frozenset())
    return SideCoverage(
        reached=len(reached & points),
        total=len(points),
        missed=tuple(
            MissedPoint(point=p, required=p in required, reason=change.reasons.get(p))
            for p in sorted(points - reached, key=_place)
        ),
    )


def _place(point: str) -> tuple[int, str]:
    digits = point.split(":")[0].split(" ")[0]
    return (int(digits) if digits.isdecimal() else 0), point


def _missing(changes: Changes, search: Search, goals: Sequence[Goal]) -> Iterator[str]:
    if changes.identical:
        return
    if search.cut_short:
        yield f"{search.cut_short} after {search.findings.ops} of {search.budget} operations"
    for control in search.controls:
        if not control.agreed:
            yield f"the A/A control of step {control.step} did not agree: {control.detail}"
    yield from _missing_points(changes, search)
    for predicate in changes.predicates:
        yield from _missing_rows(predicate, search.findings)
    for name in changes.undeclared:
        yield f"a condition changed in {name} is declared by no predicate"
    for goal in goals:
        if goal.required and goal.name not in search.findings.goals:
            yield f"goal {goal.name!r} was not reached: {goal.about}"


def _missing_points(changes: Changes, search: Search) -> Iterator[str]:
    sides = (
        ("before", search.coverable[0], search.findings.before),
        ("after", search.coverable[1], search.findings.after),
    )
    for name, coverable, side in sides:
        if coverable is None:
            yield f"coverage is not measured on the side {name} the patch"
            continue
        for change in changes.functions:
            required = change.before if name == "before" else change.after
            reached = side.covered.get(change.function, frozenset())
            missed = sorted(required - reached - change.reasons.keys(), key=_place)
            if missed:
                what = _some(missed)
                yield f"changed code of {change.function} did not run {name} the patch: {what}"
            wrong = sorted(required & reached & change.reasons.keys(), key=_place)
            if wrong:
                what = _some(wrong)
                yield f"{change.function} ran {name} the patch where it is said not to: {what}"


def _missing_rows(predicate: Predicate, findings: Findings) -> Iterator[str]:
    sides = (findings.before.rows, findings.after.rows)
    reached = {inputs for rows in sides for inputs, n in rows.get(predicate.name, {}).items() if n}
    missed = [
        inputs
        for inputs in predicate.domain
        if inputs not in reached and inputs not in predicate.unreachable
    ]
    if missed:
        share = f"{len(missed)} of {len(predicate.domain)} inputs"
        what = _some(_assigned(predicate.names, inputs) for inputs in missed)
        yield f"predicate {predicate.name!r}: {share} were not reached: {what}"
    wrong = [
        inputs for inputs in predicate.domain if inputs in reached & predicate.unreachable.keys()
    ]
    if wrong:
        what = _some(_assigned(predicate.names, inputs) for inputs in wrong)
        yield f"predicate {predicate.name!r}: reached although said to be unreachable: {what}"
    outside = sorted(map(repr, reached - set(predicate.domain)))
    if outside:
        yield f"predicate {predicate.name!r}: inputs outside its domain: {_some(outside)}"


def _assigned(names: Sequence[str], values: Iterable[object]) -> str:
    return "(" + " ".join(f"{n}={v}" for n, v in zip(names, values, strict=True)) + ")"


def _some(texts: Iterable[str], most: int = NAMED) -> str:
    every = list(texts)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
