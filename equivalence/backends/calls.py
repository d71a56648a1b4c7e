"""Records the calls of a port: every ported function reports when it is entered and left.

Functions that the C has in headers are inlined there and are no calls here either, unless the
series touches them.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from equivalence.backends.instrument import REPORTS, condition_texts
from equivalence.backends.port import Conventions, PortSystem
from equivalence.calls import MAX_EVENTS, CallEvent, FunctionText, Recording
from equivalence.series import Step, c_name
from models.schema.trace import Trace

_MAX_WORDS: Final = 80
#: Numbers from here on are addresses, sizes and masks.
_HEX: Final = 1 << 16


class CallLog:
    """What is called while it is switched on."""

    def __init__(self, functions: Mapping[str, FunctionType]) -> None:
        """``functions`` are those that are instrumented."""
        self._conditions = {name: condition_texts(name, one) for name, one in functions.items()}
        self._events: list[CallEvent] = []
        self._running: list[str] = []
        self._lines: list[int] = []
        self._on = False
        self.entered: set[str] = set()
        self.complete = True

    def start(self) -> None:
        """From here on."""
        self._on = True

    def stop(self) -> Recording:
        """No more."""
        self._on = False
        known = {name: frozenset(texts.values()) for name, texts in self._conditions.items()}
        return Recording(tuple(self._events), self.complete, known)

    def bind(self) -> dict[str, object]:
        """The names that instrumented code calls."""
        return dict(zip(REPORTS, (self._line, self._condition, _nothing), strict=True))

    def wrap(self, name: str, function: FunctionType, *, void: bool) -> Callable[..., Any]:
        """The function, reporting; ``void`` if it returns nothing."""
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

        @functools.wraps(function)
        def reporting(*args: Any, **keywords: Any) -> Any:
            if not self._on:
                return function(*args, **keywords)
            given = {**dict(zip(names, args, strict=False)), **keywords}
            self._enter(name, given)
            try:
                value = function(*args, **keywords)
            except BaseException as error:
                self._leave(name, f"ended: {error}"[:_MAX_WORDS])
                raise
            self._leave(name, "" if void else said(value) or type(value).__name__)
            return value

        return reporting

    def _add(self, event: CallEvent) -> None:
        if len(self._events) < MAX_EVENTS:
            self._events.append(event)
        else:
            self.complete = False

    def _enter(self, name: str, given: Mapping[str, Any]) -> None:
        self.entered.add(name)
        arguments = tuple((key, text) for key, value in given.items() if (text := said(value)))
        line = self._lines[-1] if self._lines else 0
        self._add(CallEvent("enter", name, line, arguments=arguments))
        self._running.append(name)
        self._lines.append(0)

    def _leave(self, name: str, value: str) -> None:
        self._running.pop()
        self._add(CallEvent("leave", name, self._lines.pop(), value=value))

    def _line(self, point: tuple[str, str]) -> None:
        if self._on and self._running and self._running[-1] == point[0]:
            self._lines[-1] = int(point[1])

    def _condition(self, function: str, place: str, value: object) -> object:
        if self._on:
            line = int(place.partition(":")[0])
            text = self._conditions[function][place]
            self._add(CallEvent("branch", function, line, text, "true" if value else "false"))
        return value


def _nothing(*_: object) -> None:
    """Inputs of predicates are not asked for here."""


def said(value: Any) -> str:
    """A number, a word or nothing as C says it; "" for a structure, which has no name here."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        number = int(value)
        return str(number) if number < _HEX else hex(number)
    if isinstance(value, str):
        return repr(value)[:_MAX_WORDS]
    if type(value) is tuple and any(map(said, value)):
        return f"({', '.join(said(item) or type(item).__name__ for item in value[:8])})"
    return ""


def is_call(function: FunctionType, touched: Collection[str], name: str) -> bool:
    """Whether a function is a call in the C."""
    origin = getattr(function, "__ported__", None)
    if origin is None or getattr(function, "__extern__", False):
        return False
    return name in touched or not str(origin.file).endswith(".h")


class RecordingSystem(PortSystem):
    """A step whose calls report; of the functions ``watched``, conditions too."""

    def __init__(
        self,
        step: Step,
        conventions: Conventions,
        touched: Collection[str],
        watched: Collection[str],
    ) -> None:
        super().__init__(step, conventions, evidence=watched)
        self.log = CallLog({name: step.functions[name] for name in watched})
        self._namespace.update(self.log.bind())
        for name, function in step.functions.items():
            if is_call(function, touched, name):
                void = function.__annotations__.get("return", "") in (None, "None")
                self._namespace[name] = self.log.wrap(name, self._namespace[name], void=void)


def record(
    step: Step, conventions: Conventions, touched: Collection[str], trace: Trace, index: int
) -> Recording:
    """Run a trace up to operation ``index`` and record that one.

    The first run finds out which functions it enters: only these are instrumented for the second.
    """
    watched: tuple[str, ...] = ()
    for _ in range(2):
        system = RecordingSystem(step, conventions, touched, watched)
        system.boot(trace.world)
        for op in trace.ops[:index]:
            system.apply(op)
        system.log.start()
        system.apply(trace.ops[index])
        recording = system.log.stop()
        watched = tuple(sorted(system.log.entered))
    return recording


def function_text(function: FunctionType) -> FunctionText:
    """The source of a port, without its decorators."""
    lines, first = inspect.getsourcelines(function)
    start = next(number for number, line in enumerate(lines) if not line.startswith("@"))
    file = function.__code__.co_filename
    module = function.__module__
    edited = _EDITED.fullmatch(file)
    if edited is not None:
        # An edited function has no file but a name of its own.
        name = edited[1]
    elif module.startswith("<"):
        # A series that was given as a file is no module.
        name = Path(file).name
    else:
        name = f"{module.replace('.', '/')}.py"
    text = tuple(line.rstrip("\n") for line in lines[start:])
    return FunctionText(c_name(function), name, first + start, text)


def port_hunk(one: FunctionText | None, two: FunctionText | None) -> str:
    """How two versions of a port differ, as a unified diff with the lines of their files."""
    name = (two or one or _NOTHING).name
    lines = list(
        difflib.unified_diff(
            one.lines if one else (),
            two.lines if two else (),
            one.file if one else "/dev/null",
            two.file if two else "/dev/null",
            lineterm="",
        )
    )

    def placed(match: re.Match[str]) -> str:
        before = int(match[1]) + (one.first_line - 1 if one else 0)
        after = int(match[3]) + (two.first_line - 1 if two else 0)
        return f"@@ -{before}{match[2]} +{after}{match[4]} @@ {name}()"

    return "\n".join(_PLACE.sub(placed, line) for line in lines)


_EDITED: Final = re.compile(r"<(.*) [0-9a-f]{8}>")
_PLACE: Final = re.compile(r"@@ -([0-9]+)(\S*) \+([0-9]+)(\S*) @@")
_NOTHING: Final = FunctionText("", "", 0, ())
