"""Linking: symbol tables, what fails to link, and what a linked step is."""

from __future__ import annotations

import ast
from types import ModuleType
from typing import Any

import pytest

from equivalence.series import (
    LinkError,
    Patch,
    Series,
    c_name,
    collect,
    same_code,
    source_tree,
    used_names,
)
from tests.equivalence import linked_toy as toy


def test_a_linked_step_runs_over_globals_of_its_own() -> None:
    step = toy.series().steps[0]
    one, two = step.instantiate(), step.instantiate()
    for namespace in (one, two):
        namespace["init_counter"]()
    assert [one["_add_one"](False) for _ in range(4)] == [1, 2, 3, -1]
    assert two["counter"] == [0]
    assert two["_add_one"](False) == 1


def test_a_patch_replaces_by_name_and_only_from_its_step_on() -> None:
    series = toy.series(Patch("loose", "Loosen", replace={"may_add": toy.may_add_loose}))
    base, patched = (step.instantiate() for step in series.steps)
    for namespace in (base, patched):
        namespace["init_counter"]()
        namespace["counter"][0] = 3
    assert base["_add_one"](False) == -1
    assert patched["_add_one"](False) == 4
    assert series.steps[1].changed_from(series.steps[0]) == ("may_add",)
    assert series.steps[1].callers_of(["may_add"]) == ("_add_one",)


def test_the_same_code_in_other_words_is_the_same() -> None:
    assert same_code(toy.may_add_base, toy.may_add_same)
    assert not same_code(toy.may_add_base, toy.may_add_loose)
    assert not same_code(toy.may_add_base, None)
    assert same_code(None, None)


def test_code_is_compared_without_docstrings() -> None:
    def bare(n: int) -> int:
        return n + 1

    def told(n: int) -> int:
        """Count."""
        return n + 1

    def other(n: int) -> int:
        return n + 2

    assert same_code(bare, told)
    assert not same_code(bare, other)


def test_names_of_the_c_source() -> None:
    assert c_name(toy._add_one) == "__add_one"
    assert c_name(toy.get_room) == "get_room"


def test_two_definitions_of_one_name_do_not_link() -> None:
    with pytest.raises(LinkError, match=r"symbol 'may_add' is defined in toy and in toy"):
        collect([toy.module(may_add=toy.may_add_base), toy.module(may_add=toy.may_add_loose)])
    with pytest.raises(LinkError, match="symbol 'LIMIT'"):
        collect([toy.module(LIMIT=3), toy.module(LIMIT=4)])
    assert collect([toy.module(LIMIT=3), toy.module(LIMIT=3)]).table["LIMIT"] == 3


def test_a_variable_is_not_defined_twice() -> None:
    with pytest.raises(LinkError, match="'counter' is declared as a global variable and defined"):
        collect([toy.toy(), _with_counter()])


def _with_counter() -> ModuleType:
    made = toy.module(counter=[1])
    made.__annotations__ = {}
    return made


def test_a_declaration_must_be_defined_by_the_step() -> None:
    series = Series("toy", "A toy", collect([toy.toy()]), ())
    with pytest.raises(LinkError, match=r"toy@0: '_add_one' uses 'may_add', declared but not"):
        _ = series.steps


def test_an_unused_declaration_is_allowed() -> None:
    base = collect([toy.module(may_add=toy.may_add, get_room=toy.get_room, LIMIT=3)])
    assert Series("toy", "A toy", base, ()).steps[0].callers_of(["get_room"]) == ()


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            Patch("p", "P", add={"user": toy.calls_missing}),
            "toy@1: 'user' uses 'not_there', which this step does not define",
        ),
        (
            Patch("p", "P", add={"user": toy.calls_wrongly}),
            r"toy@1: 'user' calls 'may_add' with 1 arguments: missing a required argument",
        ),
        (Patch("p", "P", remove=("get_room",)), "'_add_one' uses 'get_room'"),
        (Patch("p", "P", remove=("nothing",)), "'p' removes 'nothing', which does not exist"),
        (Patch("p", "P", replace={"nothing": 1}), "'p' replaces 'nothing', which does not"),
        (Patch("p", "P", add={"get_room": 1}), "'p' adds 'get_room', which exists already"),
    ],
)
def test_what_does_not_link_is_named(patch: Patch, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        _ = toy.series(patch).steps


def test_added_symbols_link() -> None:
    series = toy.series(Patch("p", "P", add={"extra": toy.may_add_same}))
    assert series.steps[1].changed_from(series.steps[0]) == ("extra",)
    assert series.steps[1].label == "toy@1"


def test_a_function_inside_another_has_a_tree_of_its_own() -> None:
    def inner(n: int) -> int:
        return n + 1

    tree = source_tree(inner)
    assert tree.name == "inner"
    assert tree.lineno == inner.__code__.co_firstlineno
    assert ast.unparse(tree.body[0]) == "return n + 1"


def test_the_names_in_the_body_of_a_class_are_found() -> None:
    space: dict[str, Any] = {}
    exec("def made():\n    class Inner:\n        size = MAXIMUM\n    return Inner\n", space)
    assert "MAXIMUM" in used_names(space["made"])


def test_the_names_of_many_globals_are_found() -> None:
    names = [f"name{number}" for number in range(600)]
    space: dict[str, Any] = {}
    exec("def many():\n    return [" + ", ".join(names) + ", len(str())]\n", space)
    assert used_names(space["many"]) == {*names, "len", "str"}
