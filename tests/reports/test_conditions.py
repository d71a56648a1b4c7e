"""What is said of changed conditions and of planted bugs."""

from __future__ import annotations

from models.schema.result import (
    Evidence,
    MutantEvidence,
    Pair,
    PredicateEvidence,
    PredicateRow,
    Verdict,
)
from reports.conditions import condition_lines, mutant_lines, mutants_text, reach_text

TRACE = "equivcheck-trace/1 toy\n# why\nworld pages=1\nschedule choices=0-2/\ntake n=1\ntake n=2\n"


def row(n: int, new: bool, count: int = 0, **more: str) -> PredicateRow:
    return PredicateRow(inputs=(n,), old=False, new=new, before_count=count, after_count=0, **more)


def predicate(
    *rows: PredicateRow, name: str = "large", explored: tuple[str, ...] = ()
) -> PredicateEvidence:
    differing = [r for r in rows if r.old != r.new]
    return PredicateEvidence(
        name=name,
        inputs=("n",),
        rows=rows,
        equal_everywhere=not differing,
        differing=len(differing),
        differing_reached=sum(r.before_count > 0 for r in differing),
        reached=sum(r.before_count > 0 for r in rows),
        explored=explored,
    )


def pair(*predicates: PredicateEvidence, mutants: MutantEvidence | None = None) -> Pair:
    return Pair(
        before=0,
        after=1,
        patch="1/1",
        against="previous",
        verdict=Verdict.NO_DIVERGENCE,
        rung="nothing",
        ops=1,
        states=1,
        evidence=Evidence(predicates=predicates, mutants=mutants),
    )


def test_conditions_that_answer_alike_are_counted() -> None:
    same = predicate(row(0, False, 3), row(1, False), name="same")
    assert list(condition_lines([pair(same), pair(same)])) == [
        "Changed conditions: 1 of 1 give the same answer on every input."
    ]
    assert list(condition_lines([pair()])) == []


def test_each_differing_input_says_whether_it_was_reached() -> None:
    one = predicate(
        row(0, False, 3),
        row(1, True, 1200, reached_by=TRACE),
        row(2, True, unreachable="n is never 2"),
        row(3, True),
    )
    assert list(condition_lines([pair(one)])) == [
        "Changed conditions: 0 of 1 give the same answer on every input.",
        "  large: differs on 3 of 4 inputs, 1 reached",
        "    (n=1): false before, true after; reached 1,200 times, by a trace of 2 ops",
        "    (n=2): false before, true after; unreachable: n is never 2",
        "    (n=3): false before, true after; not reached",
    ]
    seen = predicate(row(3, True), explored=("tight", "fork"))
    assert reach_text(seen, seen.rows[0]) == (
        "unreachable in the worlds tight, fork, which were explored to their fixpoint"
    )
    assert reach_text(seen, row(1, True, 2)) == "reached 2 times"


def test_many_inputs_are_cut() -> None:
    many = predicate(*(row(n, True) for n in range(12)))
    assert list(condition_lines([pair(many)]))[-1] == "    and 4 more inputs"


def test_planted_bugs_are_told_for_each_pair_or_said_to_be_none() -> None:
    some = MutantEvidence(killed=3, survived=0)
    assert list(mutant_lines([pair(), pair(mutants=some)])) == [
        "Planted bugs, 1/1: step 1 against the base: 3 of 3 caught."
    ]
    assert list(mutant_lines([pair()])) == [
        "Planted bugs: none in this run (profiles ci and nightly plant some)."
    ]
    assert list(mutant_lines([])) == []


def test_a_score_names_what_was_not_caught() -> None:
    found = MutantEvidence(
        killed=3, survived=1, explained=2, not_compiled=4, not_tried=5, survivors=("f: drop",)
    )
    assert mutants_text(found) == (
        "3 of 6 caught, 2 cannot be told from the original, 1 not caught: f: drop,"
        " 4 more would not compile, 5 not tried."
    )
