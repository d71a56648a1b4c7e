"""Branches that a patch lists as dead: the outcome, and all that only this outcome leads to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType

import pytest

from equivalence.backends.port_tier import PortTier
from equivalence.series import DeadBranch, Patch, Series, Symbols
from tests.toy_port import ToyConventions

REASON = "it is never so"


def specimen(a: int, b: int, c: int, d: int) -> int:
    """Conditions of every form."""
    if a:
        return 1
    if not b:
        return 2
    if c and d:
        return 3
    if c or d:
        a = 4
    else:
        a = 5
        b = a
    return a


def lines_of(*texts: str) -> set[str]:
    lines, first = inspect.getsourcelines(specimen)
    return {str(first + n) for n, line in enumerate(lines) if line.strip() in texts}


def reasons(test: str, operand: str, outcome: bool) -> dict[str, str]:
    def changed(a: int, b: int, c: int, d: int) -> int:
        return a + b + c + d

    dead = DeadBranch("specimen", test, operand, outcome, REASON)
    patches = (Patch("1/1", "a change", replace={"specimen": changed}, dead=(dead,)),)
    series = Series("s", "a series", Symbols({"specimen": specimen}), patches)
    (change,) = PortTier(series, ToyConventions(), {}).changes(0, 1).functions
    return dict(change.reasons)


@pytest.mark.parametrize(
    ("test", "operand", "outcome", "texts"),
    [
        ("a", "a", True, ("return 1",)),
        ("a", "a", False, ()),
        ("not b", "b", True, ()),
        ("not b", "b", False, ("return 2",)),
        ("c and d", "d", True, ("return 3",)),
        # One part that is never false says nothing of the whole.
        ("c and d", "d", False, ()),
        ("c or d", "c", False, ("a = 5", "b = a")),
        ("c or d", "c", True, ()),
        ("c and d", "e", True, ()),
    ],
)
def test_what_cannot_run_has_the_reason(
    test: str, operand: str, outcome: bool, texts: tuple[str, ...]
) -> None:
    found = reasons(test, operand, outcome)
    points = {point for point in found if ":" not in point}
    assert points == lines_of(*texts)
    outcomes = {point for point in found if ":" in point}
    assert all(point.endswith(str(outcome).lower()) for point in outcomes)
    assert len(outcomes) == (operand != "e")
    assert set(found.values()) <= {REASON}


def test_an_outcome_that_decides_the_whole_leaves_the_other_block() -> None:
    # "a" is never false: the block under "else" of the same statement is dead, not the rest.
    found = reasons("a", "a", False)
    assert {point for point in found if ":" not in point} == set()


def test_another_function_is_not_concerned() -> None:
    def other(a: int) -> int:
        return a

    def later(a: int) -> int:
        return a + 1

    replaced: dict[str, Callable[..., int]] = {"other": later}
    dead = DeadBranch("specimen", "a", "a", True, REASON)
    patches = (Patch("1/1", "a change", replace=replaced, dead=(dead,)),)
    series = Series("s", "a series", Symbols({"other": other}), patches)
    (change,) = PortTier(series, ToyConventions(), {}).changes(0, 1).functions
    assert isinstance(other, FunctionType)
    assert change.reasons == {}
