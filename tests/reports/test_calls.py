"""Call trees side by side: aligned, and folded to what leads to the difference."""

from models.schema.calls import CallRow, CallSide, CallTrees, Parting
from reports import calls
from reports.calls import Line, aligned, parts
from tests.reports.results import CALLS


def call(depth: int, function: str, text: str = "", result: str = "", *, first: bool = False,
         changed: bool = False) -> CallRow:  # fmt: skip
    return CallRow(
        kind="call",
        depth=depth,
        function=function,
        text=text,
        result=result,
        first_difference=first,
        changed=changed,
    )


def trees(before: list[CallRow], after: list[CallRow], parting: Parting = "call") -> CallTrees:
    return CallTrees(
        op="x",
        parting=parting,
        before=CallSide(rows=tuple(before)),
        after=CallSide(rows=tuple(after)),
    )


def said(line: Line) -> tuple[str, str, tuple[str, ...]]:
    return line.side, line.row.function, line.results


def test_what_both_do_is_one_line_whatever_it_returns() -> None:
    assert [said(line) for line in aligned(CALLS)] == [
        ("both", "do_take", ("-1", "0")),
        ("both", "lock", ("0",)),
        ("both", "look_up", ("0",)),
        ("both", "unlock", ("0",)),
        ("both", "plenty", ("0", "1")),
        ("before", "plenty", ("false",)),
        ("after", "plenty", ("true",)),
        ("before", "refuse", ("",)),
    ]


def test_other_lines_take_turns() -> None:
    both = trees(
        [call(0, "f"), call(1, "a", first=True), call(1, "b"), call(1, "c")],
        [call(0, "f"), call(1, "x", first=True), call(1, "y", "n=1")],
    )
    assert [said(line)[:2] for line in aligned(both)] == [
        ("both", "f"),
        ("before", "a"),
        ("after", "x"),
        ("before", "b"),
        ("after", "y"),
        ("before", "c"),
    ]


def test_what_does_not_lead_to_the_difference_is_folded() -> None:
    quiet = [call(1, "g"), call(2, "deep"), call(2, "deeper")]
    inner = [call(1, "h"), call(2, "near"), *[call(3, "far")] * 3]
    both = trees(
        [call(0, "f"), *quiet, *inner, call(2, "a", first=True)],
        [call(0, "f"), *quiet, *inner, call(2, "b", first=True)],
    )
    shape = [(part.folded, [line.row.function for line in part.lines]) for part in parts(both)]
    assert shape == [
        (False, ["f"]),
        (True, ["g", "deep", "deeper"]),
        (False, ["h", "near"]),
        (True, ["far", "far", "far"]),
        (False, ["a", "b"]),
    ]
    assert parts(both)[1].alike
    assert not parts(both)[4].alike


def test_few_lines_are_not_folded_and_many_behind_the_difference_are() -> None:
    tail = [call(1, "t", str(number)) for number in range(calls.MAX_AFTER + 10)]
    both = trees(
        [call(0, "f"), call(1, "g"), call(2, "h"), call(1, "a", first=True), *tail],
        [call(0, "f"), call(1, "g"), call(2, "h"), call(1, "b", first=True), *tail],
    )
    assert [(part.folded, len(part.lines)) for part in parts(both)] == [
        (False, 2),
        (False, 1),
        (False, 2 + calls.MAX_AFTER),
        (True, 10),
    ]


def test_where_nothing_parts_the_changed_functions_are_shown() -> None:
    rows = [
        call(0, "f"),
        *[call(1, "g")] * 4,
        call(1, "h"),
        call(2, "touched", changed=True),
        *[call(1, "g")] * 4,
    ]
    both = trees(rows, rows, "nowhere")
    shown = [line.row.function for part in parts(both) if not part.folded for line in part.lines]
    assert shown == ["f", "h", "touched"]


def test_a_whole_tree_is_bounded() -> None:
    rows = [call(0, "f", str(number)) for number in range(calls.MAX_LINES + 5)]
    assert sum(len(part.lines) for part in parts(trees(rows, rows, "nowhere"))) == calls.MAX_LINES


def test_no_calls_are_no_parts() -> None:
    assert parts(trees([], [], "nowhere")) == ()
