from typing import Any

import pytest

from equivalence.oracle import effect_differences, oracle_for, state_differences
from equivalence.subject import Excluded, Relation
from models.schema.divergence import ABSENT, path_text
from tests.toy import Toy, ToySubject, plenty


class Wide(Toy):
    sections = frozenset({"pool", "holders", "extra"})


def fields(before: Any, after: Any, *sections: str) -> list[tuple[str, Any, Any]]:
    found = state_differences(before, after, frozenset(sections))
    return [(path_text(d.path), d.before, d.after) for d in found]


def test_fields_come_in_the_order_of_the_first_side_then_the_second() -> None:
    before = {"b": {"y": 1, "x": 1}, "a": 1}
    after = {"a": 2, "b": {"x": 2, "y": 2, "z": 2}, "c": 3}
    assert fields(before, after, "a", "b", "c") == [
        ("b.y", 1, 2),
        ("b.x", 1, 2),
        ("b.z", ABSENT, 2),
        ("a", 1, 2),
        ("c", ABSENT, 3),
    ]


def test_only_the_sections_asked_for_are_compared() -> None:
    assert fields({"a": 1, "b": 1}, {"a": 2, "b": 2}, "b") == [("b", 1, 2)]


def test_sequences_differ_by_position_and_length() -> None:
    before, after = {"l": [1, (2, 3)]}, {"l": (1, [2, 4], 5)}
    assert fields(before, after, "l") == [("l.1.1", 3, 4), ("l.2", ABSENT, 5)]
    assert fields({"l": [1, 2]}, {"l": [1]}, "l") == [("l.1", 2, ABSENT)]


def test_values_of_another_shape_differ_as_a_whole() -> None:
    assert fields({"a": {"x": 1}}, {"a": 1}, "a") == [("a", {"x": 1}, 1)]
    assert fields({"a": None}, {"a": []}, "a") == [("a", None, [])]


def test_equal_states_have_no_differences() -> None:
    assert fields({"a": {"x": (1, 2)}}, {"a": {"x": [1, 2]}}, "a") == []


def test_effects_differ_by_position() -> None:
    assert [d.field for d in effect_differences(("a", "b"), ("a", "c"))] == ["effects.1"]


@pytest.mark.parametrize(
    ("relation", "sections", "not_compared"),
    [
        ("user", {"pool"}, ["extra", "holders", "effects", "pool"]),
        ("state", {"pool", "holders"}, ["extra", "effects", "pool"]),
        ("effects", {"pool", "holders"}, ["extra", "pool"]),
    ],
)
def test_what_a_relation_compares_and_what_it_says_it_does_not(
    relation: Relation, sections: set[str], not_compared: list[str]
) -> None:
    oracle = oracle_for(
        Toy(plenty), Wide(plenty), relation, ToySubject.user_sections, ToySubject.excluded
    )
    assert oracle.sections == sections
    assert [item.section for item in oracle.not_compared] == not_compared
    assert all(item.reason for item in oracle.not_compared)
    assert not oracle.by_digest
    assert oracle.effects == (relation == "effects")


def test_exclusions_of_sections_that_are_not_compared_are_not_repeated() -> None:
    excluded = [Excluded("holders", "age", "not modelled")]
    oracle = oracle_for(Toy(plenty), Toy(plenty), "user", frozenset({"pool"}), excluded)
    assert oracle.by_digest
    assert [(e.section, e.field) for e in oracle.not_compared] == [
        ("holders", "*"),
        ("effects", "calls into the environment"),
    ]
