"""The evidence of a pair in a few words."""

from reports.evidence import Tried, tried
from reports.html import write
from tests.reports.results import COVERAGE, toy_result


def words(one: Tried) -> tuple[str, ...]:
    return one.code, one.inputs, one.goals, one.mutants, one.control


def test_what_was_shown_is_counted() -> None:
    pair = toy_result().pairs[-1]
    (predicate,) = pair.evidence.predicates
    rows = predicate.rows
    count = sum(row.before_count > 0 for row in rows)
    row = words(tried(pair))
    assert row[0].startswith("all, in ")
    assert row[1:] == (
        f"{count} of {len(rows)}",
        f"{sum(goal.reached for goal in pair.evidence.goals)} of {len(pair.evidence.goals)}",
        "30 of 31, caught",
        "agreed",
    )


def test_what_is_owed_and_what_disagrees_is_said() -> None:
    pair = toy_result().pairs[-1]
    owed = COVERAGE.before
    assert owed is not None
    missed = owed.missed[0].model_copy(update={"reason": None})
    before = owed.model_copy(update={"missed": (missed, missed)})
    (predicate,) = pair.evidence.predicates
    unreachable = predicate.rows[0].model_copy(update={"unreachable": "never", "before_count": 0,
                                                       "after_count": 0})  # fmt: skip
    evidence = pair.evidence.model_copy(
        update={
            "coverage": (COVERAGE.model_copy(update={"before": before, "after": None}),),
            "predicates": (predicate.model_copy(update={"rows": (unreachable,)}),),
            "goals": (),
            "mutants": None,
            "controls": (pair.evidence.controls[0].model_copy(update={"agreed": False}),),
        }
    )
    assert words(tried(pair.model_copy(update={"evidence": evidence}))) == (
        "1 function, 2 points did not run",
        "0 of 1, 1 unreachable",
        "-",
        "none planted",
        "did not agree",
    )


def test_the_page_has_a_row_for_each_pair_with_evidence() -> None:
    text = write(toy_result())
    assert text.count("30 of 31, caught") == sum(
        bool(pair.evidence.mutants) for pair in toy_result().pairs
    )
