"""Evidence built in at link time: the function behaves the same and reports what ran."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from equivalence.backends.instrument import Recorder, instrument
from equivalence.subject import Predicate


def ask(value: int) -> int:
    """Called by the specimen."""
    return value


def specimen(n: int, flag: bool) -> str:
    """Every shape of statement and condition that ports use."""
    total = 0
    for i in range(n):
        if i == 1 and not flag:
            continue
        total += ask(i)
    while total > 100:
        total -= 1
    try:
        word = "even" if total % 2 == 0 else "odd"
        if n < 0:
            raise ValueError(word)
    except ValueError:
        word = "negative"
    finally:
        total = 0
    with_default = n or 7
    return f"{word} {with_default}"


def build(
    function: Callable[..., object], *predicates: Predicate
) -> tuple[FunctionType, Recorder, frozenset[str]]:
    recorder = Recorder()
    assert isinstance(function, FunctionType)
    code, points = instrument(function.__name__, function, predicates)
    recorder.points[function.__name__] = points
    namespace: dict[str, Any] = {**function.__globals__, **recorder.bind()}
    return FunctionType(code, namespace, function.__name__), recorder, points


def line_of(text: str) -> int:
    lines, first = inspect.getsourcelines(specimen)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_instrumented_code_does_the_same() -> None:
    twin, _, _ = build(specimen)
    for n in (-1, 0, 1, 2, 5, 20):
        for flag in (False, True):
            assert twin(n, flag) == specimen(n, flag)


def test_points_reached_are_those_that_ran() -> None:
    twin, recorder, points = build(specimen)
    twin(2, True)
    covered = recorder.covered()["specimen"]
    assert str(line_of("continue")) in points - covered
    assert str(line_of("total += ask")) in covered
    flag = line_of("i == 1")
    assert {p for p in covered if p.startswith(f"{flag}:") and p.endswith("false")}
    twin(2, False)
    assert str(line_of("continue")) in recorder.covered()["specimen"]
    for n in (-1, 0, 3, 20):
        twin(n, False)
    missing = points - recorder.covered()["specimen"]
    assert missing == frozenset()


def test_clearing_forgets() -> None:
    twin, recorder, _ = build(specimen)
    twin(1, True)
    recorder.clear()
    assert recorder.progress() == 0
    assert recorder.covered() == {"specimen": frozenset()}


def test_rows_are_read_before_the_anchor() -> None:
    predicate = Predicate(
        "p",
        ("n", "answer"),
        ((0, 0),),
        lambda n, answer: True,
        lambda n, answer: True,
        site="specimen",
        anchor="ask",
        inputs=("n", "-1 if answer is None else answer"),
        keep={"answer": "ask"},
    )
    twin, recorder, _ = build(specimen, predicate)
    twin(3, True)
    assert recorder.rows == {"p": {(3, -1): 1, (3, 0): 1, (3, 1): 1}}


def test_a_traceback_names_the_true_line() -> None:
    twin, _, _ = build(specimen)
    with pytest.raises(TypeError) as caught:
        twin("three", True)
    assert caught.tb.tb_next is not None
    assert caught.tb.tb_next.tb_lineno == line_of("range(n)")


def asserting(n: int) -> int:
    """What always holds is no condition."""
    assert n is not None
    return ask(n)


def test_an_assertion_is_a_line_and_no_branch() -> None:
    twin, recorder, points = build(asserting)
    assert twin(3) == 3
    assert all(":" not in point for point in points)
    assert recorder.covered()["asserting"] == points
    with pytest.raises(AssertionError):
        twin(None)
