"""The tier ``port`` as the engine sees it: a series' steps as systems, and how steps differ.

Changed lines are found by comparing the source of the two versions of a function line by line,
comments and docstrings aside; a function that exists on one side only is changed in full. What
other patches of the series touch and the callers of all of it are watched too, but owe no points.
"""

from __future__ import annotations

import ast
import difflib
import platform
from collections.abc import Iterable, Mapping, Sequence
from types import CodeType, FunctionType

from equivalence.backends.calls import function_text, port_hunk, record
from equivalence.backends.instrument import instrument
from equivalence.backends.port import Conventions, PortSystem
from equivalence.calls import FunctionText, Recording
from equivalence.series import DeadBranch, Series, Step, c_name, same_code, source_tree
from equivalence.subject import Change, Changes, PatchInfo, Role, System
from models.schema.trace import Trace


class PortTier:
    """A series on the ports."""

    name = "port"

    def __init__(
        self,
        series: Series,
        conventions: Conventions,
        limits: Mapping[str, str],
    ) -> None:
        self.series = series.name
        self.source = series
        self._conventions = conventions
        self.patches: Sequence[PatchInfo] = tuple(
            PatchInfo(p.name, p.title, p.declares_change) for p in series.patches
        )
        self.limits: Mapping[str, str] = {
            **limits,
            "interpreter": f"CPython {platform.python_version()}",
            "coverage": "lines and condition outcomes, instrumented at link time",
        }

    def functions(self, step: int) -> Mapping[str, FunctionType]:
        """The functions of a step by symbol name."""
        return self.source.steps[step].functions

    def obstacle(self, step: int) -> str | None:
        """None: a series of the ports that does not link is refused when it is loaded."""
        return None

    def system(
        self,
        step: int,
        *,
        effects: bool = False,
        evidence: bool = True,
        overrides: Mapping[str, CodeType] | None = None,
        watch: Iterable[str] = (),
    ) -> System:
        """A fresh system of a step; with ``evidence`` the functions ``watch`` report what ran, or,
        if there are none, every one that any patch of the series touches, and its callers."""
        linked = self.source.steps[step]
        return PortSystem(
            linked,
            self._conventions,
            effects=effects,
            evidence=(tuple(watch) or self._watched(linked)) if evidence else (),
            predicates=[p for patch in self.source.patches for p in patch.predicates],
            overrides=overrides,
        )

    def recording(self, step: int, trace: Trace, index: int) -> Recording:
        """The calls and conditions of one operation, in C's names where they are shown."""
        linked = self.source.steps[step]
        return record(linked, self._conventions, self._touched(), trace, index)

    def function_text(self, step: int, function: str) -> FunctionText | None:
        """The source of a ported function."""
        found = self.source.steps[step].functions.get(function)
        return None if found is None else function_text(found)

    def hunk(self, before: int, after: int, function: str) -> str:
        """How the port of a function differs between two steps."""
        return port_hunk(self.function_text(before, function), self.function_text(after, function))

    def _touched(self) -> set[str]:
        touched: set[str] = set()
        for patch in self.source.patches:
            touched.update(patch.add, patch.replace, patch.remove)
        return touched

    def _watched(self, step: Step) -> tuple[str, ...]:
        touched = self._touched()
        return tuple(sorted({*touched, *step.callers_of(touched)} & step.functions.keys()))

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ."""
        old, new = self.source.steps[before], self.source.steps[after]
        names = new.changed_from(old)
        predicates = tuple(
            p for patch in self.source.patches[before:after] for p in patch.predicates
        )
        if not names:
            return Changes(identical=True)
        functions = [self._change(name, old, new) for name in names]
        callers = {*self._watched(old), *self._watched(new)} - set(names)
        functions += [Change(name, "caller") for name in sorted(callers)]
        covered = {symbol for p in predicates for symbol in p.symbols}
        undeclared = tuple(
            f"{c_name(new.functions.get(n) or old.functions[n])}()"
            for n in names
            if n not in covered
            and _conditions(old.functions.get(n)) != _conditions(new.functions.get(n))
        )
        return Changes(
            identical=False,
            functions=tuple(functions),
            predicates=predicates,
            undeclared=undeclared,
        )

    def _change(self, name: str, old: Step, new: Step) -> Change:
        one, two = old.functions.get(name), new.functions.get(name)
        role: Role = "changed" if one and two else "added" if two else "removed"
        before, after = changed_lines(one, two)
        points_before = _points_on(name, one, before)
        points_after = _points_on(name, two, after)
        reasons = {**self._reasons(name, one), **self._reasons(name, two)}
        return Change(name, role, points_before, points_after, reasons)

    def _reasons(self, name: str, function: FunctionType | None) -> dict[str, str]:
        """Points of a function that cannot run -> why."""
        reasons: dict[str, str] = {}
        for patch in self.source.patches:
            for dead in patch.dead:
                if dead.function == name and function is not None:
                    reasons.update(_dead_points(name, function, dead))
        return reasons


def _dead_points(name: str, function: FunctionType, dead: DeadBranch) -> dict[str, str]:
    """The outcome that cannot happen, and everything in the block that it would lead to."""
    found: set[str] = set()
    blocks: list[list[ast.stmt]] = []
    for branch in ast.walk(source_tree(function)):
        if not isinstance(branch, ast.If) or ast.unparse(branch.test) != dead.test:
            continue
        for node in ast.walk(branch.test):
            if isinstance(node, ast.expr) and ast.unparse(node) == dead.operand:
                found.add(f"{node.lineno}:{node.col_offset} {str(dead.outcome).lower()}")
        never = _never(branch.test, dead)
        blocks += [branch.body] if True in never else []
        blocks += [branch.orelse] if False in never else []
    lines = {
        line
        for block in blocks
        for statement in block
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }
    return dict.fromkeys([*found, *_points_on(name, function, frozenset(lines))], dead.reason)


def _never(test: ast.expr, dead: DeadBranch) -> set[bool]:
    """The truth values that a condition cannot have."""
    if ast.unparse(test) == dead.operand:
        return {dead.outcome}
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return {not value for value in _never(test.operand, dead)}
    if isinstance(test, ast.BoolOp):
        decisive = isinstance(test.op, ast.And)
        parts = [_never(value, dead) for value in test.values]
        # One part that is never true makes a conjunction never true; and the other way round.
        return {decisive} if any(decisive in part for part in parts) else set()
    return set()


def changed_lines(
    one: FunctionType | None, two: FunctionType | None
) -> tuple[frozenset[int], frozenset[int]]:
    """Line numbers (in their files) of the lines that differ between two versions."""
    left, right = _code_lines(one), _code_lines(two)
    matcher = difflib.SequenceMatcher(
        a=[t for _, t in left], b=[t for _, t in right], autojunk=False
    )
    before: set[int] = set()
    after: set[int] = set()
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            before.update(n for n, _ in left[i1:i2])
            after.update(n for n, _ in right[j1:j2])
    return frozenset(before), frozenset(after)


def _code_lines(function: FunctionType | None) -> list[tuple[int, str]]:
    """Each statement's own lines, without docstring and comments: (line number, text)."""
    if function is None:
        return []
    tree = source_tree(function)
    body = tree.body[1:] if ast.get_docstring(tree, clean=False) is not None else tree.body
    lines: list[tuple[int, str]] = []
    _collect(body, lines)
    return lines


def _collect(statements: Iterable[ast.stmt], lines: list[tuple[int, str]]) -> None:
    for statement in statements:
        blocks = [
            getattr(statement, name)
            for name in ("body", "orelse", "finalbody")
            if isinstance(getattr(statement, name, None), list)
        ]
        lines.append((statement.lineno, _head(statement)))
        for block in blocks:
            _collect(block, lines)
        for handler in getattr(statement, "handlers", ()):
            _collect(handler.body, lines)


def _head(statement: ast.stmt) -> str:
    """The statement without the blocks inside it."""
    parts = [type(statement).__name__]
    for name, value in ast.iter_fields(statement):
        if name in ("body", "orelse", "finalbody", "handlers"):
            continue
        nodes = value if isinstance(value, list) else [value]
        parts += [ast.unparse(n) if isinstance(n, ast.AST) else repr(n) for n in nodes]
    return " ".join(parts)


def _points_on(name: str, function: FunctionType | None, lines: frozenset[int]) -> frozenset[str]:
    if function is None or not lines:
        return frozenset()
    _, points = instrument(name, function)
    return frozenset(p for p in points if int(p.split(":")[0].split()[0]) in lines)


def _conditions(function: FunctionType | None) -> list[str]:
    """The conditions of a function's body, as texts, in order."""
    if function is None:
        return []
    tree = source_tree(function)
    return [
        ast.unparse(node.test)
        for node in ast.walk(tree)
        if isinstance(node, (ast.If, ast.While, ast.IfExp))
    ] + [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.BoolOp)]


__all__ = ["PortTier", "changed_lines", "same_code"]
