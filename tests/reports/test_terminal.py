"""What is printed of a result, and that nothing in it reaches the terminal as a command."""

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from models.schema.result import (
    Defect,
    NotCompared,
    OutcomeText,
    Result,
    TimelineStep,
    Verdict,
)
from reports import terminal, text
from tests.reports.results import every_verdict, hostile_result, toy_result


def printed(result: Result, width: int = 80, *, color: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        color_system="truecolor" if color else None,
        force_terminal=color,
    )
    console.print(terminal.render(result), crop=False)
    return file.getvalue()


def test_nothing_in_a_result_commands_the_terminal() -> None:
    out = printed(hostile_result())
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\r" not in out
    assert "\u202e" not in out


@pytest.mark.parametrize("make", [toy_result, every_verdict])
def test_golden(make: Callable[[], Result], snapshot: SnapshotAssertion) -> None:
    assert printed(make()) == snapshot


def test_verdicts_are_told_without_colour_and_with() -> None:
    plain, coloured = printed(toy_result()), printed(toy_result(), color=True)
    assert "\x1b[1;31mdiverged" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_width_shows_every_verdict(width: int) -> None:
    out = printed(toy_result(), width)
    for pair in toy_result().pairs:
        assert pair.verdict.value[:8] in out


def test_what_is_long_is_cut_and_says_so() -> None:
    result = toy_result()
    pair = result.pairs[-1]
    assert pair.counterexample is not None
    change = pair.counterexample.differences[0]
    long = pair.counterexample.model_copy(
        update={
            "trace": "equivcheck-trace/1 toy\nworld pages=2\n" + "take who=A n=3\n" * 500,
            "differences": (change,) * 20,
            "replay": None,
            "op_index": -1,
        }
    )
    missing = pair.evidence.model_copy(update={"missing": ("not tried",) * 30})
    defect = Defect(invariant="no-debt", about="", detail="-1", steps=(0,), trace="", ops=0)
    out = printed(
        result.model_copy(
            update={
                "pairs": (
                    pair.model_copy(update={"counterexample": long}),
                    pair.model_copy(
                        update={
                            "verdict": Verdict.INADEQUATE,
                            "evidence": missing,
                            "counterexample": None,
                        }
                    ),
                    pair.model_copy(
                        update={
                            "verdict": Verdict.NOT_CHECKED,
                            "counterexample": None,
                            "reason": "hunk 3 is not hosted",
                        }
                    ),
                ),
                "defects": (defect,) * 50,
                "notes": ("the store is full",),
            }
        )
    )
    assert "... and 461 more lines; the reproducer has all" in out
    assert "and 12 more fields" in out
    assert "... and 18 more things are missing" in out
    assert "... and 30 more defects" in out
    assert "hunk 3 is not hosted" in out
    assert "at boot:" in out
    assert "Note: the store is full" in out
    assert out.count("\n") < 200


def test_a_trace_that_was_not_made_minimal_says_so() -> None:
    result = toy_result()
    found = result.pairs[-1].counterexample
    assert found is not None
    assert found.shrinking is not None
    partly = found.shrinking.model_copy(update={"complete": False})
    for shrinking, has in ((partly, "in 37 runs, not to the end"), (None, "trace, 1 ops:")):
        pair = result.pairs[-1].model_copy(
            update={"counterexample": found.model_copy(update={"shrinking": shrinking})}
        )
        out = printed(result.model_copy(update={"pairs": (pair,)}))
        assert re.sub(r"in [0-9]+ runs", "in 37 runs", out).find(has) > 0


def test_nothing_to_compare_is_nothing_to_say() -> None:
    result = toy_result().model_copy(update={"not_compared": (), "defects": ()})
    out = printed(result)
    assert "Not compared" not in out
    assert "Defects" not in out
    one = NotCompared(section="pool", field="name", reason="none")
    said = printed(result.model_copy(update={"not_compared": (one,)}))
    assert "Not compared: pool (name). The report has the reasons." in said


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (OutcomeText(ret=0), "ok"),
        (OutcomeText(ret=0, value=7), "ok value 7"),
        (OutcomeText(ret=3), "3"),
        (OutcomeText(ret=-1, errno="ENOMEM"), "ENOMEM"),
        (OutcomeText(ret=-1, signal="SIGBUS", si_code=2), "SIGBUS (si_code 2)"),
        (OutcomeText(ret=-1, signal="SIGSEGV"), "SIGSEGV"),
        (OutcomeText(ret=-1, ending="refused"), "refused"),
        (OutcomeText(ret=-1, ending="bug", detail="x in f()"), "bug (x in f())"),
        (OutcomeText(ret=0, warnings=("a < b",)), "ok WARN: a < b"),
    ],
)
def test_an_outcome_in_one_line(outcome: OutcomeText, line: str) -> None:
    assert text.outcome_line(outcome) == line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "none"),
        ("a\nb", "a b"),
        (2**64 - 1, "18446744073709551615"),
        ({"a": [1]}, '{"a": [1]}'),
        ("x" * 500, "x" * 117 + "..."),
    ],
)
def test_a_value_in_one_line(value: object, shown: str) -> None:
    assert text.value_text(value) == shown


def test_a_step_with_many_fields_shows_those_that_differ_first() -> None:
    found = toy_result().pairs[-1].counterexample
    assert found is not None
    step = found.timeline[-1]
    same = step.changed[0].model_copy(update={"differs": False, "field": "same"})
    differs = step.changed[0].model_copy(update={"differs": True, "field": "other"})
    long = TimelineStep(
        index=0, op="x", before=step.before, after=step.before, changed=(*[same] * 20, differs)
    )
    file = io.StringIO()
    Console(file=file, width=80).print(terminal.timeline((long,)))
    lines = file.getvalue().splitlines()
    assert "! other" in lines[4]
    assert "and 13 more fields" in file.getvalue()
