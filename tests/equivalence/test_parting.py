"""Where two recordings part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from equivalence import parting
from equivalence.calls import CallEvent, FunctionText, Recording
from equivalence.parting import call_trees
from equivalence.subject import Change, Role
from models.schema.calls import CallSide, CallTrees
from models.schema.trace import Op, Trace

TRACE = Trace("toy", {}, (Op("take", {}),))


def events(*lines: str) -> tuple[CallEvent, ...]:
    """Events from lines such as ``f(n=1) @3 {``, ``? x true @4`` and ``} 0``."""
    made: list[CallEvent] = []
    running: list[str] = []
    for text in lines:
        words, _, line = text.partition(" @")
        number = int(line) if line else 0
        if words.startswith("}"):
            made.append(CallEvent("leave", running.pop(), number, value=words[1:].strip()))
        elif words.startswith("?"):
            condition, _, value = words[2:].partition(" ")
            made.append(CallEvent("branch", running[-1], number, condition, value.strip()))
        else:
            name, _, given = words.rstrip(")").partition("(")
            pairs = tuple(tuple(pair.split("=")) for pair in given.split(", ") if pair)
            made.append(CallEvent("enter", name, number, arguments=pairs))  # type: ignore[arg-type]
            running.append(name)
    return tuple(made)


class Told:
    """A tier with two steps, whose functions have ten lines each, from 1 on."""

    def __init__(self, *sides: Sequence[str], cut: bool = False, missing: str = "") -> None:
        self.sides = [events(*side) for side in sides]
        self.cut = cut
        self.missing = missing

    def recording(self, step: int, trace: Trace, index: int) -> Recording | None:
        if not self.sides[step]:
            return None
        conditions: dict[str, set[str]] = {}
        for event in self.sides[step]:
            if event.kind == "branch":
                conditions.setdefault(event.function, set()).add(event.text)
        known = {name: frozenset(texts) for name, texts in conditions.items()}
        return Recording(self.sides[step], not self.cut, known)

    def function_text(self, step: int, function: str) -> FunctionText | None:
        if function == self.missing:
            return None
        return FunctionText(f"c_{function}", f"{step}.c", 1, tuple(f"line {n}" for n in range(10)))

    def hunk(self, before: int, after: int, function: str) -> str:
        return "\n".join(f"{function} {before} {after}" for _ in range(200))


def compare(told: Told, **roles: Role) -> CallTrees:
    changes = [
        Change(name, role, before=frozenset({"3", "3:4 true"}), after=frozenset({"4", "1.c:6"}))
        for name, role in roles.items()
    ]
    trees = call_trees(told, (0, 1), changes, TRACE, 0)
    assert trees is not None
    return trees


def rows(side: CallSide) -> list[str]:
    return [
        "  " * row.depth
        + ("* " if row.first_difference else "")
        + f"{row.function}({row.text})"
        + (f" {row.result}" if row.result else "")
        for row in side.rows
    ]


def test_another_call_is_where_they_part() -> None:
    told = Told(
        ["f(n=1)", "g() @3", "} 0", "h(n=2) @4", "}", "} 1"],
        ["f(n=1)", "g() @3", "} 0", "} 2 @5"],
    )
    trees = compare(told, f="changed")
    assert trees.parting == "call"
    assert trees.before.said == "calls c_h(n=2)"
    assert trees.after.said == "c_f() returns 2"
    assert trees.before.stack == trees.after.stack == ("c_f",)
    assert rows(trees.before) == ["c_f(n=1) 1", "  c_g() 0", "  * c_h(n=2)"]
    assert rows(trees.after) == ["* c_f(n=1) 2", "  c_g() 0"]
    assert trees.before.source is not None
    assert (trees.before.source.marked, trees.before.source.changed) == (4, (3, 4))
    assert trees.after.source is not None
    assert (trees.after.source.marked, trees.after.source.changed) == (5, (3, 4, 6))
    assert trees.hunk_of == "c_f"
    assert trees.hunk.endswith("... and 80 more lines")
    assert not trees.cut
    assert trees.first_result is not None
    assert trees.first_result.function == "c_f"
    assert (trees.first_result.before, trees.first_result.after) == ("(n=1) → 1", "(n=1) → 2")


def test_other_arguments_another_result_another_branch() -> None:
    same = ["f()", "g(n=1) @2", "? x true @3", "} 0", "} 0"]
    for number, line, parting_, said in (
        (1, "g(n=2) @2", "arguments", ("calls c_g(n=1)", "calls c_g(n=2)")),
        (3, "} 5", "result", ("c_g() returns 0", "c_g() returns 5")),
        (2, "? x false @3", "branch", ("finds x true", "finds x false")),
        (2, "? y true @3", "branch", ("finds x true", "finds y true")),
    ):
        other = [*same]
        other[number] = line
        trees = compare(Told(same, other))
        assert trees.parting == parting_
        assert (trees.before.said, trees.after.said) == said
        assert trees.hunk == trees.hunk_of == ""


def test_of_the_c_a_block_is_told_by_the_line_that_it_begins() -> None:
    one, other = (["f()", f"? {line} {''} @4", "}"] for line in ("goto;", "return;"))
    trees = compare(Told(one, other), f="changed")
    assert trees.parting == "nowhere"
    trees = compare(Told(one, other))
    assert (trees.parting, trees.before.said) == ("branch", "goes on at 'goto;'")


def test_what_one_side_only_has_is_passed_over() -> None:
    told = Told(
        [
            "f(n=1, old=2)",
            "gone()",
            "} 7",
            "? only_before true",
            "g()",
            "? deep true",
            "} 0",
            "} 0",
        ],
        ["f(n=1, new=3)", "helper(z=1)", "? any true", "g()", "? deep true", "} 0", "} 9", "} 0"],
    )
    trees = compare(told, f="changed", helper="added", gone="removed")
    assert trees.parting == "nowhere"
    assert trees.first_result is None
    assert trees.before.said == trees.after.said == "does nothing more"
    assert trees.before.source is None
    assert trees.hunk_of == "c_f"
    assert rows(trees.after)[1:3] == ["  c_helper(z=1) 9", "    c_helper(any) true"]
    # Where nothing changes it, every argument counts.
    assert compare(told, helper="added", gone="removed").parting == "arguments"
    # Where the change has both versions of a condition, it counts too.
    one, other = (["f()", f"? x {word}", "} 0"] for word in ("true", "false"))
    assert compare(Told(one, other), f="changed").parting == "branch"


def test_a_side_that_ends_early() -> None:
    long, short = ["f()", "g()", "}", "}"], ["f()", "g()", "}"]
    trees = compare(Told(long, short))
    assert trees.parting == "call"
    assert trees.after.said == "does nothing more"
    trees = compare(Told(short, long, cut=True))
    assert trees.before.said == "does nothing more"
    assert trees.after.said == "c_f() returns"
    assert trees.cut


def test_the_hunk_is_that_of_the_last_changed_function_that_ran() -> None:
    told = Told(["f()", "g()", "} 1", "h()"], ["f()", "g()", "} 1", "k()"])
    assert compare(told, g="changed").hunk_of == "c_g"
    assert compare(told, unrelated="changed").hunk_of == ""


def test_a_function_without_source_keeps_its_name() -> None:
    told = Told(["f()", "g() @2", "} 1"], ["f()", "h() @2", "} 1"], missing="f")
    trees = compare(told, f="removed", g="changed")
    assert trees.before.stack == ("f",)
    assert trees.before.source is None
    assert compare(Told(["f()", "g()"], ["f()", "h()"], missing="f"), f="changed").hunk_of == "f"


def test_a_line_that_no_call_told_is_taken_from_the_caller() -> None:
    told = Told(["f()", "g() @2", "h()"], ["f()", "g() @2", "k()"])
    source = compare(told).before.source
    assert source is not None
    assert (source.function, source.marked) == ("c_f", 2)


def test_rows_are_bounded_on_both_sides_of_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "MAX_EARLIER", 3)
    monkeypatch.setattr(parting, "MAX_LATER", 2)
    calls = ["g()", "}"] * 10
    trees = compare(
        Told(["f()", *calls, "h()", "}", *calls, "}"], ["f()", *calls, "k()", "}", *calls, "}"])
    )
    assert (trees.before.earlier, trees.before.later) == (8, 9)
    assert rows(trees.before)[-2:] == ["  * c_h()", "  c_g()"]


@pytest.mark.parametrize("schedule", [{"index": -1}, {"schedule": "0-2/1.1"}])
def test_at_boot_and_for_operations_that_run_together_there_is_no_tree(
    schedule: Mapping[str, object],
) -> None:
    trace = Trace("toy", {}, TRACE.ops, str(schedule.get("schedule", "")))
    index = -1 if "index" in schedule else 0
    assert call_trees(Told([], []), (0, 1), [], trace, index) is None
    assert call_trees(object(), (0, 1), [], TRACE, 0) is None
    assert call_trees(Told(["f()"], []), (0, 1), [], TRACE, 0) is None
