"""What the ports tell of the calls that an operation makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from equivalence.backends import calls
from equivalence.backends.calls import port_hunk, said
from equivalence.backends.port_tier import PortTier
from equivalence.calls import CallEvent, FunctionText
from equivalence.edit import edit
from equivalence.series import Patch, Series, collect
from models.kernel.port import ported
from models.schema.outcome import OK, Ending, Outcome
from models.schema.trace import Args, Op, Trace
from tests.equivalence import linked_toy as toy


class EndedError(Exception):
    """How the toy ends."""


class Machine:
    """As much as the tier needs."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.effects = None
        self.fuel = 0


class Conventions:
    """What the tier must know of the toy."""

    endings: Mapping[type[BaseException], Ending] = {EndedError: "bug"}
    sections = frozenset({"counter"})
    fuel = 1

    def machine(self, namespace: Mapping[str, Any]) -> Any:
        return Machine()


@ported("toy.c", "__add")
def add(force: bool, note: list[int]) -> int:
    """One more; the second argument has no name in a trace."""
    if may_add(counter[0], force):  # type: ignore[name-defined]  # noqa: F821
        bump()
        return 1 if is_even(counter[0]) else 2  # type: ignore[name-defined]  # noqa: F821
    raise EndedError("full")  # type: ignore[name-defined,unused-ignore]


@ported("toy.c", "bump")
def bump() -> None:
    """Count."""
    counter[0] += 1  # type: ignore[name-defined]  # noqa: F821


@ported("toy.h", "is_even")
def is_even(number: int) -> bool:
    """Inlined in the C."""
    return number % 2 == 0


@ported("toy.c", "may_add")
def may_add(count: int, force: bool) -> bool:
    """As it was."""
    return force or count < 1


def op_add(args: Args) -> Outcome:
    """Count one up."""
    return Outcome(ret=add(bool(args.get("force")), []))


def boot_world(world: Args) -> None:
    """Nothing to do."""


def tier(*patches: Patch) -> PortTier:
    module = toy.module(
        init_counter=toy.init_counter,
        add=add,
        bump=bump,
        is_even=is_even,
        may_add=may_add,
        op_add=op_add,
        boot_world=boot_world,
        Outcome=Outcome,
        OK=OK,
        EndedError=EndedError,
    )
    return PortTier(Series("toy", "A toy", collect([module]), patches), Conventions(), {})


ADD = Op("add", {})
TRACE = Trace("toy", {}, (ADD, ADD))


def lines(events: tuple[CallEvent, ...]) -> list[str]:
    return [
        f"{e.kind} {e.function}"
        + "".join(f" {name}={value}" for name, value in e.arguments)
        + (f" {e.text}" if e.text else "")
        + (f" -> {e.value}" if e.value else "")
        for e in events
    ]


def test_calls_conditions_and_results_are_told_in_order() -> None:
    recording = tier().recording(0, TRACE, 0)
    assert recording.complete
    assert lines(recording.events) == [
        "enter add force=0",
        "enter may_add count=0 force=0",
        "branch may_add force -> false",
        "branch may_add count < 1 -> true",
        "leave may_add -> 1",
        "branch add may_add(counter[0], force) -> true",
        "enter bump",
        "leave bump",
        "branch add is_even(counter[0]) -> false",
        "leave add -> 2",
    ]
    assert recording.conditions["may_add"] == {"force", "count < 1"}
    first = add.__code__.co_firstlineno
    places = {(e.kind, e.function): e.line - first for e in recording.events}
    assert places["enter", "may_add"] == 3
    assert places["leave", "add"] == 5


def test_what_ends_an_operation_is_told() -> None:
    recording = tier().recording(0, TRACE, 1)
    assert lines(recording.events)[-1] == "leave add -> ended: full"


def test_a_header_is_a_call_if_the_series_touches_it() -> None:
    odd = edit(is_even, "== 0", "== 1")
    recording = tier(Patch("1/1", "", replace={"is_even": odd})).recording(1, TRACE, 0)
    assert "enter is_even number=1" in lines(recording.events)
    assert lines(recording.events)[-1] == "leave add -> 1"


def test_a_recording_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_EVENTS", 3)
    recording = tier().recording(0, TRACE, 0)
    assert not recording.complete
    assert len(recording.events) == 3


def test_source_and_hunk() -> None:
    changed = tier(Patch("1/1", "", replace={"bump": edit(bump, "+= 1", "+= 2", "wrong")}))
    assert changed.function_text(0, "nothing") is None
    text = changed.function_text(0, "add")
    assert text is not None
    assert (text.name, text.file) == ("__add", "tests/equivalence/backends/test_calls.py")
    assert text.first_line == add.__code__.co_firstlineno + 1
    assert text.lines[0] == "def add(force: bool, note: list[int]) -> int:"
    first = bump.__code__.co_firstlineno
    assert changed.hunk(0, 1, "bump").splitlines() == [
        "--- tests/equivalence/backends/test_calls.py",
        "+++ wrong bump",
        f"@@ -{first + 1},3 +2,3 @@ bump()",
        " def bump() -> None:",
        '     """Count."""',
        "-    counter[0] += 1  # type: ignore[name-defined]  # noqa: F821",
        "+    counter[0] += 2  # type: ignore[name-defined]  # noqa: F821",
    ]


def test_a_series_that_is_a_file_is_named_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bump, "__module__", "<run_path>")
    text = tier().function_text(0, "bump")
    assert text is not None
    assert text.file == "test_calls.py"


def test_the_hunk_of_a_function_on_one_side() -> None:
    text = FunctionText("f", "a.py", 7, ("def f(): ...",))
    assert port_hunk(text, None).splitlines() == [
        "--- a.py",
        "+++ /dev/null",
        "@@ -7 +0,0 @@ f()",
        "-def f(): ...",
    ]
    assert port_hunk(None, text).splitlines()[2:] == ["@@ -0,0 +7 @@ f()", "+def f(): ..."]
    assert port_hunk(None, None) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "1"),
        (-28, "-28"),
        (0x200000, "0x200000"),
        ("A", "'A'"),
        ((0, None, []), "(0, NULL, list)"),
        (([],), ""),
        ([], ""),
    ],
)
def test_how_values_are_said(value: object, text: str) -> None:
    assert said(value) == text
