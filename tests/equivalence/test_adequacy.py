from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from equivalence.adequacy import NAMED, Search, gather, judge, rung
from equivalence.search import Findings, Points, Side
from equivalence.subject import Change, Changes, Goal, Hunk, Predicate
from models.schema.result import (
    Control,
    Evidence,
    FunctionCoverage,
    MissedPoint,
    MutantEvidence,
    SearchEvidence,
    SideCoverage,
    Verdict,
)

PREDICATE = Predicate("p", ("a", "b"), ((0, 0), (0, 1), (1, 1)), lambda a, b: a, lambda a, b: a)
POINTS = frozenset({"10", "11", "11:7 true", "11:7 false"})
CHANGE = Change("f", "changed", frozenset({"11", "11:7 true"}), frozenset({"10"}))
CALLER = Change("g", "caller")
COVERABLE: Points = {"f": POINTS, "g": frozenset({"1", "2"})}
CHANGES = Changes(False, (CHANGE, CALLER), (PREDICATE,), only_predicates=True)
GOALS = (
    Goal("needed", "must happen", lambda op, out: True, required=True),
    Goal("nice", "may happen", lambda op, out: True),
)


def side(points: Iterable[str], *inputs: tuple[int, int]) -> Side:
    return Side({"f": frozenset(points), "g": frozenset({"1"})}, {"p": Counter(inputs)})


def search() -> Search:
    """All that can be shown was shown."""
    findings = Findings(ops=100, traces=5, goals={"needed"})
    findings.outcomes["take", "returned"] = 100
    findings.before = side(POINTS, (0, 0), (0, 1))
    findings.after = side(POINTS - {"11"}, (0, 1), (1, 1), (1, 1))
    agreed = Control(step=0, agreed=True, ops=10, traces=1)
    ran = SearchEvidence(name="sampler", ops=100, traces=5)
    return Search(findings, 100, (ran,), (agreed,), (COVERABLE, COVERABLE), "by hand")


def verdict_of(changes: Changes, evidence: Evidence) -> Verdict:
    return judge(changes, evidence, diverged=False, declared=False)


def test_all_that_can_be_shown_is_adequate() -> None:
    evidence = gather(CHANGES, search(), GOALS, MutantEvidence(killed=3, survived=0))
    assert evidence.missing == ()
    assert verdict_of(CHANGES, evidence) is Verdict.NO_DIVERGENCE
    assert evidence.outcomes == {"take returned": 100}
    assert [(g.name, g.reached, g.required) for g in evidence.goals] == [
        ("needed", True, True),
        ("nice", False, False),
        ("all of f runs", False, False),
        ("all of g runs", False, False),
    ]
    assert evidence.coverage == (
        FunctionCoverage(
            function="f",
            role="changed",
            before=SideCoverage(reached=4, total=4),
            after=SideCoverage(
                reached=3, total=4, missed=(MissedPoint(point="11", required=False),)
            ),
        ),
        FunctionCoverage(
            function="g",
            role="caller",
            before=SideCoverage(
                reached=1, total=2, missed=(MissedPoint(point="2", required=False),)
            ),
            after=SideCoverage(
                reached=1, total=2, missed=(MissedPoint(point="2", required=False),)
            ),
        ),
    )
    (predicate,) = evidence.predicates
    assert predicate.equal_everywhere
    assert (predicate.reached, predicate.differing, predicate.differing_reached) == (3, 0, 0)
    assert [(r.inputs, r.before_count, r.after_count) for r in predicate.rows] == [
        ((0, 0), 1, 0),
        ((0, 1), 1, 1),
        ((1, 1), 0, 2),
    ]


def missing(changes: Changes = CHANGES, **more: Any) -> tuple[str, ...]:
    evidence = gather(changes, replace(search(), **more), GOALS)
    expected = Verdict.INADEQUATE if evidence.missing else Verdict.NO_DIVERGENCE
    assert verdict_of(changes, evidence) is expected
    return evidence.missing


def findings(**more: Any) -> Findings:
    return replace(search().findings, **more)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"cut_short": "interrupted", "budget": 500},
            "interrupted after 100 of 500 operations",
        ),
        (
            {"controls": (Control(step=2, agreed=False, ops=1, traces=1, detail="flaky"),)},
            "the A/A control of step 2 did not agree: flaky",
        ),
        (
            {"findings": findings(before=side({"10", "11"}, (0, 0), (0, 1)))},
            "changed code of f did not run before the patch: 11:7 true",
        ),
        (
            {"findings": findings(after=side({"11"}, (1, 1)))},
            "changed code of f did not run after the patch: 10",
        ),
        ({"coverable": (None, COVERABLE)}, "coverage is not measured on the side before the patch"),
        ({"coverable": (COVERABLE, None)}, "coverage is not measured on the side after the patch"),
        (
            {"findings": findings(after=side(POINTS, (0, 1)))},
            "predicate 'p': 1 of 3 inputs were not reached: (a=1 b=1)",
        ),
        (
            {"findings": findings(after=side(POINTS, (1, 1), (7, 7)))},
            "predicate 'p': inputs outside its domain: (7, 7)",
        ),
        ({"findings": findings(goals=set())}, "goal 'needed' was not reached: must happen"),
    ],
)
def test_each_thing_that_is_missing_is_named(part: dict[str, Any], expected: str) -> None:
    assert missing(**part) == (expected,)


def test_a_changed_condition_that_no_predicate_declares_is_missing() -> None:
    changes = replace(CHANGES, undeclared=("hugetlb_wp()",))
    assert missing(changes) == ("a condition changed in hugetlb_wp() is declared by no predicate",)


def test_reasons_stand_in_for_what_cannot_be_reached() -> None:
    reasons = {"11:7 true": "needs 1 TiB pages"}
    unreachable: dict[tuple[int | str, ...], str] = {(1, 1): "a implies not b"}
    changes = replace(
        CHANGES,
        functions=(replace(CHANGE, reasons=reasons),),
        predicates=(replace(PREDICATE, unreachable=unreachable),),
    )
    partly = findings(before=side({"11"}, (0, 0)), after=side({"10"}, (0, 1)))
    assert missing(changes, findings=partly) == ()
    evidence = gather(changes, replace(search(), findings=partly), GOALS)
    assert evidence.predicates[0].rows[2].unreachable == "a implies not b"
    before = evidence.coverage[0].before
    assert before is not None
    assert before.missed[1:] == (
        MissedPoint(point="11:7 false", required=False),
        MissedPoint(point="11:7 true", required=True, reason="needs 1 TiB pages"),
    )


def test_reasons_that_the_run_refutes_count_as_missing() -> None:
    changes = replace(
        CHANGES,
        functions=(replace(CHANGE, reasons={"11": "never"}),),
        predicates=(replace(PREDICATE, unreachable={(0, 0): "never"}),),
    )
    assert missing(changes) == (
        "f ran before the patch where it is said not to: 11",
        "predicate 'p': reached although said to be unreachable: (a=0 b=0)",
    )


def test_a_sentence_names_a_few_and_counts_the_rest() -> None:
    many = frozenset(str(n) for n in range(8, 8 + NAMED + 3))
    changes = replace(CHANGES, functions=(Change("f", "changed", many),), predicates=())
    empty = replace(search(), findings=findings(before=Side(), after=Side()))
    assert gather(changes, empty, GOALS).missing == (
        "changed code of f did not run before the patch: 8, 9, 10, 11 and 3 more",
    )


def test_a_function_that_a_side_does_not_have_has_no_coverage_there() -> None:
    changes = Changes(False, (Change("h", "added"),))
    (coverage,) = gather(changes, search(), GOALS).coverage
    assert (coverage.before, coverage.after) == (None, None)


def test_all_of_a_function_is_a_goal_and_what_did_not_run_is_told() -> None:
    (*_, f, g) = gather(CHANGES, search(), GOALS).goals
    every = "every line and every outcome of a condition ran"
    assert f.about == f"{every}; 1 did not after the patch: 11"
    assert g.about == f"{every}; 1 did not before the patch: 2; 1 did not after the patch: 2"
    whole = search()
    whole.findings.after.covered["f"] = POINTS
    excused = replace(CHANGES, functions=(CHANGE, replace(CALLER, reasons={"2": "needs 1 TiB"})))
    assert all(goal.reached for goal in gather(excused, whole, GOALS).goals[-2:])
    unmeasured = replace(search(), coverable=(None, None))
    assert not any(goal.reached for goal in gather(CHANGES, unmeasured, GOALS).goals[-2:])


def test_differing_inputs_and_reached_differing_inputs_are_two_findings() -> None:
    differs = replace(PREDICATE, new=lambda a, b: b)
    changes = replace(CHANGES, predicates=(differs,))
    evidence = gather(changes, search(), GOALS)
    (predicate,) = evidence.predicates
    assert not predicate.equal_everywhere
    assert (predicate.differing, predicate.differing_reached) == (1, 1)
    assert rung(changes, evidence, Verdict.NO_DIVERGENCE) == "no divergence in N ops"


IDENTICAL = Changes(True)
HOSTED_NOT = Changes(False, hunks=(Hunk("mm/memory.c:7", "not hosted", "not ours"),))
COMPILED_NOT = Changes(False, hunks=(Hunk("mm/hugetlb.c:9", "not compiled", "CONFIG_CMA=n"),))
LACKING = Evidence(missing=("something",))


@pytest.mark.parametrize(
    ("changes", "evidence", "diverged", "declared", "expected"),
    [
        (CHANGES, Evidence(), True, False, Verdict.DIVERGED),
        (CHANGES, LACKING, True, False, Verdict.DIVERGED),
        (CHANGES, Evidence(), True, True, Verdict.CHANGED_AS_DECLARED),
        (CHANGES, Evidence(), False, True, Verdict.DECLARED_BUT_UNSEEN),
        (IDENTICAL, Evidence(), False, True, Verdict.DECLARED_BUT_UNSEEN),
        (IDENTICAL, Evidence(), False, False, Verdict.IDENTICAL),
        (HOSTED_NOT, Evidence(), False, False, Verdict.NOT_CHECKED),
        (HOSTED_NOT, Evidence(), True, False, Verdict.DIVERGED),
        (COMPILED_NOT, Evidence(), False, False, Verdict.NO_DIVERGENCE),
        (CHANGES, LACKING, False, False, Verdict.INADEQUATE),
        (CHANGES, Evidence(), False, False, Verdict.NO_DIVERGENCE),
    ],
)
def test_verdicts(
    changes: Changes, evidence: Evidence, diverged: bool, declared: bool, expected: Verdict
) -> None:
    assert judge(changes, evidence, diverged=diverged, declared=declared) is expected


@pytest.mark.parametrize(
    ("changes", "verdict", "expected"),
    [
        (IDENTICAL, Verdict.IDENTICAL, "identical code"),
        (CHANGES, Verdict.DIVERGED, "nothing"),
        (CHANGES, Verdict.NOT_CHECKED, "nothing"),
        (CHANGES, Verdict.NO_DIVERGENCE, "predicates equal on every input"),
        (CHANGES, Verdict.INADEQUATE, "predicates equal on every input"),
        (replace(CHANGES, undeclared=("f",)), Verdict.INADEQUATE, "nothing"),
        (replace(CHANGES, only_predicates=False), Verdict.INADEQUATE, "nothing"),
        (replace(CHANGES, only_predicates=False), Verdict.NO_DIVERGENCE, "no divergence in N ops"),
        (replace(CHANGES, predicates=()), Verdict.NO_DIVERGENCE, "no divergence in N ops"),
    ],
)
def test_the_rung_is_the_strongest_thing_that_holds(
    changes: Changes, verdict: Verdict, expected: str
) -> None:
    assert rung(changes, gather(changes, search(), GOALS), verdict) == expected


def test_a_fixpoint_is_a_rung_of_its_own() -> None:
    changes = replace(CHANGES, only_predicates=False)
    evidence = gather(changes, search(), GOALS)
    found = [rung(changes, evidence, Verdict.EXHAUSTED, fixpoint=end) for end in (True, False)]
    assert found == ["fixpoint in the stated world", "no divergence in N ops"]


def test_identical_code_owes_nothing() -> None:
    nothing = replace(search(), findings=Findings(), controls=(), coverable=(None, None))
    assert gather(IDENTICAL, nothing, GOALS).missing == ()
