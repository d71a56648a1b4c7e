"""Planted bugs: each operator makes what it says, keys hold, and the source is left as it was."""

from __future__ import annotations

import ast
from collections import Counter
from types import FunctionType

import pytest

from equivalence.edit import EditError
from equivalence.independence import independent
from equivalence.mutants import Mutant, build, mutants_of
from equivalence.series import source_tree


class Counted:
    """Something that is counted."""

    def __init__(self) -> None:
        self.count = 0
        self.parts = [0]


def subject(c: Counted, n: int, wide: bool) -> int:
    """A docstring with a number, 7, that is no constant of the code."""
    undo = 0
    total = n - 1
    if n < 3 and wide:
        c.count = c.count + n
        c.parts[0] += 1
        undo = 1
    while total > 0:
        total = total - pair(n, total)
        if not wide:
            break
        if total == 7:
            continue
    note(c)
    return -1 if undo >= 1 else 0


def pair(a: int, b: int) -> int:
    """The larger one."""
    return a if a > b else b


def note(c: Counted) -> None:
    """Nothing is returned."""
    if c.count > 100:
        c.count = pair(c.count, 0)
        c.parts[0] = c.count
        c.count = 0


def function(name: str) -> FunctionType:
    chosen: object = {"subject": subject, "pair": pair, "note": note, "asserting": asserting}[name]
    assert isinstance(chosen, FunctionType)
    return chosen


def found(operator: str, name: str = "subject") -> list[tuple[str, str]]:
    return [(m.old, m.new) for m in mutants_of(name, function(name)) if m.operator == operator]


@pytest.mark.parametrize(
    ("operator", "old", "new"),
    [
        ("negate", "n < 3 and wide", "not (n < 3 and wide)"),
        ("negate", "not wide", "wide"),
        ("and-or", "n < 3 and wide", "n < 3 or wide"),
        ("lost condition", "n < 3 and wide", "wide"),
        ("boundary", "n < 3", "n <= 3"),
        ("boundary", "undo >= 1", "undo > 1"),
        ("sign", "c.count + n", "c.count - n"),
        ("arguments", "pair(n, total)", "pair(total, n)"),
        ("constant", "total = n - 1", "total = n - 2"),
        ("label", "undo = 1", "undo = 2"),
        ("label", "undo = 0", "undo = -1"),
        ("lost update", "c.count = c.count + n", "pass"),
        ("lost update", "c.parts[0] += 1", "pass"),
        ("drop", "note(c)", "pass"),
        ("drop", "break", "pass"),
        ("drop", "undo = 1", "pass"),
        ("early return", "note(c)", "return 0; ..."),
    ],
)
def test_each_operator_makes_what_it_says(operator: str, old: str, new: str) -> None:
    if (operator, old) == ("early return", "note(c)"):
        assert ("undo = 0", "return 0; ...") in found(operator)
    else:
        assert (old, new) in found(operator)


def test_statements_change_places_only_where_that_may_matter() -> None:
    assert found("order", "note") == [
        (
            "c.count = pair(c.count, 0); c.parts[0] = c.count",
            "c.parts[0] = c.count; c.count = pair(c.count, 0)",
        ),
        ("c.parts[0] = c.count; c.count = 0", "c.count = 0; c.parts[0] = c.count"),
    ]
    assert found("order") == []


def reads(c: Counted) -> int:
    """A member is read."""
    return c.count


def writes(c: Counted, n: int) -> None:
    """A member is written, by what is called."""
    total = Counted()
    total.parts[0] += n
    puts(c)


def puts(c: Counted) -> None:
    """Writes, and calls what called it."""
    c.count = 1
    if c.parts:
        writes(c, 1)


def raises(c: Counted) -> None:
    """May end everything."""
    if c.count:
        raise ValueError


def switches() -> None:
    """A global variable is written."""
    global switched
    switched = 1


switched = 0


@pytest.mark.parametrize(
    ("one", "two", "may"),
    [
        ("a = 1", "b = 2", True),
        ("a = 1", "b = a", False),
        ("a = b", "b = 2", False),
        ("a = 1", "a = 2", False),
        ("a = 1", "call()", True),
        ("a = 1", "call(a)", False),
        ("a = call()", "b = 1", True),
        ("x.a = 1", "call()", False),
        ("a = x.a", "call()", False),
        ("a = b[0]", "call(b)", False),
        ("a = outer", "call()", False),
        ("call()", "call()", False),
        ("x.a = 1", "y.b = 2", True),
        ("x.a = 1", "y.a = 2", False),
        ("x.a += 1", "x.b[a] += 1", True),
        ("x.a[b] = 1", "b = 2", False),
        ("a = max(b, x.c)", "c = min(b, x.c)", True),
        ("b[0] = 1", "c = 2", True),
        ("b[0] = 1", "c[0] += 2", False),
        ("a += 1", "b = a", False),
        ("a, b = 1, 2", "c = 3", True),
        ("a, b = 1, 2", "b = 3", False),
        ("a = 1", "return", False),
        ("a = reads(x)", "b = reads(y)", True),
        ("a = reads(x)", "y.count = 2", False),
        ("a = reads(x)", "writes(y, 1)", False),
        ("writes(x, 1)", "a = y.size", True),
        ("writes(x, 1)", "a = y.count", False),
        ("writes(x, 1)", "a = y[0]", True),
        ("raises(x)", "y.size = 1", False),
        ("raises(x)", "a = 1", True),
        ("switches()", "a = switched", False),
        ("switches()", "a = x.count", True),
        ("a = Counted()", "x.count = 1", True),
        ("a = b.pop()", "x.count = 1", False),
    ],
)
def test_independence_is_claimed_only_for_certain(one: str, two: str, may: bool) -> None:
    first, second = ast.parse(one).body[0], ast.parse(two).body[0]
    local = frozenset("abcxy")
    named = (reads, writes, puts, raises, switches)
    functions = {f.__name__: f for f in named if isinstance(f, FunctionType)}
    assert independent(first, second, local, functions) is may
    assert independent(second, first, local, functions) is may


def test_assertions_are_left_alone() -> None:
    assert {m.operator for m in mutants_of("asserting", function("asserting"))} >= {"drop", "order"}
    kept = mutants_of("asserting", function("asserting"), {}, {"holds"})
    assert {(m.operator, m.old) for m in kept} == {
        ("early return", "holds(c.count > 1, c)"),
        ("lost update", "c.count = c.count + 1"),
        ("sign", "c.count + 1"),
        ("constant", "c.count = c.count + 1"),
    }


def asserting(c: Counted) -> None:
    """An assertion, and what it stands before."""
    holds(c.count > 1, c)
    c.count = c.count + 1


def holds(condition: object, c: Counted) -> None:
    """An assertion."""
    if not condition:
        c.count = 0


def typed(n: int, wide: bool, c: Counted | None) -> Counted | None:
    """Calls with arguments of several types."""
    if wide:
        return made(n, wide, c)
    return made(n, False, c)


def made(n: int, wide: bool, c: Counted | None) -> Counted | None:
    """Nothing but a type."""
    return c


def test_arguments_of_different_types_would_not_compile() -> None:
    functions = {"made": made}
    assert isinstance(made, FunctionType)
    mutants = mutants_of("typed", typed, {"made": made})  # type: ignore[arg-type]
    swaps = {m.new: m.compiles for m in mutants if m.operator == "arguments"}
    assert swaps == {
        "made(wide, n, c)": True,
        "made(n, c, wide)": False,
        "made(False, n, c)": True,
        "made(n, c, False)": False,
    }
    assert all(m.compiles for m in mutants_of("typed", typed))  # type: ignore[arg-type]
    assert functions


def maps(n: int) -> tuple[int, Counted | None]:
    """Two results."""
    note(Counted())
    return n, Counted()


def single(n: int) -> tuple[bool]:
    """One."""
    note(Counted())
    return (bool(n),)


@pytest.mark.parametrize(
    ("function", "result"),
    [(maps, "return (0, None)"), (single, "return (False,)"), (made, "return None")],
)
def test_an_early_return_is_of_the_function_s_type(function: object, result: str) -> None:
    assert isinstance(function, FunctionType)
    news = {m.new for m in mutants_of("f", function) if m.operator == "early return"}
    assert news == ({f"{result}; ..."} if function is not made else set())


def test_names_are_never_left_without_a_value() -> None:
    assert ("total = n - 1", "pass") not in found("drop")
    assert ("undo = 0", "pass") not in found("drop")


def test_an_early_return_returns_what_the_function_does() -> None:
    assert {new for _, new in found("early return", "note")} == {"return; ..."}


def test_every_mutant_is_different_and_has_a_key_of_its_own() -> None:
    mutants = mutants_of("subject", function("subject"))
    assert len({mutant.key for mutant in mutants}) == len(mutants)
    assert len({mutant.source for mutant in mutants}) == len(mutants)
    assert all(ast.parse(mutant.source) for mutant in mutants)
    assert Counter(mutant.operator for mutant in mutants)["constant"] > 5
    assert {m.line for m in mutants} <= set(range(subject.__code__.co_firstlineno, 60))


def test_the_function_itself_is_left_as_it_was() -> None:
    before = ast.unparse(source_tree(function("subject")))
    mutants_of("subject", function("subject"))
    assert ast.unparse(source_tree(function("subject"))) == before
    assert mutants_of("subject", function("subject")) == mutants_of("subject", function("subject"))


def test_a_mutant_runs_as_it_reads() -> None:
    boundary = next(m for m in mutants_of("pair", function("pair")) if m.operator == "negate")
    mutant = build(boundary, function("pair"))
    assert (pair(1, 2), mutant(1, 2)) == (2, 1)
    assert subject(Counted(), 2, True) == -1


def test_long_texts_are_cut_in_keys() -> None:
    whole = next(
        m for m in mutants_of("subject", function("subject")) if m.old.startswith("if n < 3")
    )
    assert len(whole.old) <= 90
    assert "\n" not in whole.key


def test_a_mutant_of_something_else_is_refused() -> None:
    broken = Mutant("pair", "drop", "a", "b", 1, 1, "x = 1\n")
    with pytest.raises(EditError, match="expected one function"):
        build(broken, function("pair"))


def odd(n: int) -> int:
    while True:
        n = max(n, 1)
        if n > 0 and n > 0:
            break
    "a statement that calls nothing"
    return n


def test_what_would_change_nothing_is_not_planted() -> None:
    assert isinstance(odd, FunctionType)
    made = mutants_of("odd", odd, {}, {"holds"})
    assert "arguments" not in {m.operator for m in made}
    assert [m.old for m in made if m.operator == "negate"] == ["n > 0 and n > 0"]
    assert len([m for m in made if m.operator == "lost condition"]) == 1
