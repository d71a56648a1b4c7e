"""What changed between two results."""

from typing import Any

from models.schema.result import Result, Verdict
from reports.compare import Change, compare
from tests.reports.results import toy_result
from tests.toy import plenty, plenty_too


def altered(result: Result, **changes: Any) -> Result:
    """The result with its last pair altered."""
    pair = result.pairs[-1].model_copy(update=changes)
    return result.model_copy(update={"pairs": (*result.pairs[:-1], pair)})


def test_the_same_result_has_no_changes() -> None:
    assert compare(toy_result(), toy_result()) == ()


def test_a_series_that_was_mended_is_better() -> None:
    mended = toy_result(plenty, plenty_too, plenty)
    # Another title is another patch: the old pair is gone, a new one is there.
    renamed = [c for c in compare(toy_result(), mended) if "step 2 against the base" in c.what]
    assert [(c.old, c.new) for c in renamed] == [
        ("not there", "identical"),
        ("diverged", "not there"),
    ]
    titled = mended.model_copy(
        update={
            "patches": toy_result().patches,
            "pairs": tuple(
                pair.model_copy(update={"title": old.title})
                for pair, old in zip(mended.pairs, toy_result().pairs, strict=True)
            ),
        }
    )
    found = {change.what: change for change in compare(toy_result(), titled)}
    assert found["patch 2: step 2 against the base"].sense == "better"
    assert found["defect no-debt"] == Change(
        "better", "defect no-debt", "on steps 2: no-debt: -1 pages free", "not found"
    )
    back = compare(titled, toy_result())
    assert back[0].sense == "worse"
    assert {change.what for change in back if change.sense == "worse"} == {
        "patch 2: step 2 against step 1",
        "patch 2: step 2 against the base",
        "defect no-debt",
    }


def test_another_trace_for_the_same_verdict_is_a_change() -> None:
    found = toy_result().pairs[-1].counterexample
    assert found is not None
    other = found.model_copy(update={"field": "pool.free"})
    (change,) = compare(toy_result(), altered(toy_result(), counterexample=other))
    assert change.sense == "other"
    assert change.old.startswith("diverged (after op 0 (take who=A n=3): outcome.ret is -1")
    assert "pool.free is" in change.new


def test_verdicts_of_one_status_are_neither_better_nor_worse() -> None:
    one = altered(toy_result(), verdict=Verdict.INADEQUATE, counterexample=None)
    other = altered(one, verdict=Verdict.NOT_CHECKED)
    assert [change.sense for change in compare(one, other)] == ["other"]


def test_a_pair_that_is_new_and_bad_is_worse() -> None:
    shorter = toy_result().model_copy(update={"pairs": toy_result().pairs[:-1]})
    (change,) = compare(shorter, toy_result())
    assert (change.sense, change.old, change.new) == ("worse", "not there", "diverged")
    (change,) = compare(toy_result(), shorter)
    assert (change.sense, change.old, change.new) == ("other", "diverged", "not there")


def test_a_defect_on_more_steps_is_worse() -> None:
    result = toy_result()
    defect = next(one for one in result.defects if one.invariant == "no-debt")
    rest = tuple(one for one in result.defects if one is not defect)
    more = defect.model_copy(update={"steps": (1, 2)})
    (change,) = compare(result, result.model_copy(update={"defects": (*rest, more)}))
    assert change.sense == "worse"
    elsewhere = defect.model_copy(update={"steps": (1,)})
    (change,) = compare(result, result.model_copy(update={"defects": (*rest, elsewhere)}))
    assert change.sense == "other"


def test_other_limits_are_said() -> None:
    limits = toy_result().limits.model_copy(update={"ops": 5, "relation": "user"})
    new = toy_result().model_copy(update={"limits": limits, "waivers": ("patch 1 may",)})
    assert {change.what: (change.old, change.new) for change in compare(toy_result(), new)} == {
        "relation": ("state", "user"),
        "budget of a pair": ("2,000 ops", "5 ops"),
        "waivers": ("none", "patch 1 may"),
    }
