"""Instrumentation at link time: which lines and conditions of a function ran, with which inputs.

A function's own syntax tree is rewritten and compiled under its own file name and line numbers, so
tracebacks stay true. Only the functions that a series touches and their callers are rewritten; all
others run as they are.

- every statement reports its line;
- every condition (each operand of ``and``/``or``, under ``not``, of ``if``, ``while`` and
  conditional expressions) reports whether it was true;
- a predicate's inputs are read right before the statement that calls its anchor.
"""

from __future__ import annotations
import __future__

import ast
import copy
from collections import Counter
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Final

from equivalence.series import source_tree
from equivalence.subject import Predicate
from models.schema.trace import Scalar

_LINE, _CONDITION, _ROW = "__equivcheck_line__", "__equivcheck_condition__", "__equivcheck_row__"
#: The names that instrumented code calls: with (function, line), with function, place and outcome
#: of a condition, and with a predicate and its inputs.
REPORTS: Final = (_LINE, _CONDITION, _ROW)


class Recorder:
    """Where instrumented functions report; lives as long as the system."""

    def __init__(self) -> None:
        self._raw: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] = set()
        self._covered: dict[str, frozenset[str]] = {}
        self.points: dict[str, frozenset[str]] = {}
        self.rows: dict[str, Counter[tuple[Scalar, ...]]] = {}

    def bind(self) -> dict[str, object]:
        """The names that instrumented code calls."""
        add = self._raw.add

        def condition(function: str, place: str, value: object) -> object:
            add((function, f"{place} true" if value else f"{place} false"))
            return value

        def row(predicate: str, inputs: tuple[Scalar, ...]) -> None:
            self.rows.setdefault(predicate, Counter())[inputs] += 1

        return {_LINE: add, _CONDITION: condition, _ROW: row}

    def progress(self) -> int:
        """How many points were reached and different inputs counted."""
        return len(self._raw) + sum(map(len, self.rows.values()))

    def clear(self) -> None:
        """Forget what was reached and counted."""
        self._raw.clear()
        self._told.clear()
        self._covered.clear()
        self.rows.clear()

    def covered(self) -> dict[str, frozenset[str]]:
        """Function -> points reached so far."""
        covered = self._covered
        if not covered:
            covered.update(dict.fromkeys(self.points, frozenset()))
        fresh: dict[str, set[str]] = {}
        for function, point in self._raw - self._told:
            fresh.setdefault(function, set()).add(point)
        for function, points in fresh.items():
            covered[function] |= points
        self._told |= self._raw
        return dict(covered)


def instrument(
    name: str, function: FunctionType, predicates: Iterable[Predicate] = ()
) -> tuple[CodeType, frozenset[str]]:
    """The function's code with reports built in, and all the points it can report."""
    tree, rewriter = _rewritten(name, function, [p for p in predicates if p.site == name])
    module = ast.Module([tree], [])
    ast.fix_missing_locations(module)
    code = compile(
        module, function.__code__.co_filename, "exec", dont_inherit=True, flags=_ANNOTATIONS
    )
    inner = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == tree.name)
    return inner, frozenset(rewriter.points)


def condition_texts(name: str, function: FunctionType) -> dict[str, str]:
    """The conditions that the instrumented function reports: place -> text."""
    _, rewriter = _rewritten(name, function, [])
    places = {point.removesuffix(" true") for point in rewriter.points if point.endswith(" true")}
    texts: dict[str, str] = {}
    # Breadth first: of the expressions that begin at a place, the whole comes before its parts.
    for node in ast.walk(source_tree(function)):
        if isinstance(node, ast.expr) and not isinstance(node, ast.BoolOp):
            place = f"{node.lineno}:{node.col_offset}"
            if place in places:
                texts.setdefault(place, ast.unparse(node))
    return texts


def _rewritten(
    name: str, function: FunctionType, predicates: list[Predicate]
) -> tuple[ast.FunctionDef, _Rewriter]:
    tree = copy.deepcopy(source_tree(function))
    tree.decorator_list = []
    rewriter = _Rewriter(name, predicates)
    rewriter.rewrite(tree)
    return tree, rewriter


#: The ports postpone the evaluation of annotations; so must the rewritten body.
_ANNOTATIONS = __future__.annotations.compiler_flag


class _Rewriter(ast.NodeTransformer):
    def __init__(self, function: str, predicates: list[Predicate]) -> None:
        self.function = function
        self.predicates = predicates
        self.keep = {callee: variable for p in predicates for variable, callee in p.keep.items()}
        self.points: set[str] = set()

    def rewrite(self, tree: ast.FunctionDef) -> None:
        body = tree.body
        if ast.get_docstring(tree, clean=False) is not None:
            # A function that does nothing has nothing else.
            body = body[1:] or body
        first = body[0].lineno
        prologue = [
            _at(ast.parse(f"{variable} = None").body[0], first)
            for variable in sorted(set(self.keep.values()))
        ]
        tree.body = prologue + self._block(body) or tree.body

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for statement in statements:
            self.points.add(str(statement.lineno))
            out.append(_at(self._report_line(statement.lineno), statement.lineno))
            out.extend(
                _at(self._report_row(p), statement.lineno)
                for p in self.predicates
                if p.anchor in _called_directly(statement)
            )
            out.append(self._statement(statement))
        return out

    def _statement(self, statement: ast.stmt) -> ast.stmt:
        for name, value in ast.iter_fields(statement):
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                setattr(statement, name, self._block(value))
            elif name == "handlers":
                for handler in value:
                    handler.body = self._block(handler.body)
            elif name == "test" and isinstance(value, ast.expr) and not _is_assertion(statement):
                setattr(statement, name, self._condition(value))
            elif isinstance(value, ast.expr):
                setattr(statement, name, self.visit(value))
            elif isinstance(value, list):
                setattr(
                    statement, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value]
                )
        return statement

    def _condition(self, test: ast.expr) -> ast.expr:
        if isinstance(test, ast.BoolOp):
            test.values = [self._condition(value) for value in test.values]
            return test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test.operand = self._condition(test.operand)
            return test
        if isinstance(test, ast.Constant):
            return test
        place = f"{test.lineno}:{test.col_offset}"
        inner: ast.expr = self.visit(test)
        self.points.update((f"{place} true", f"{place} false"))
        call = ast.Call(
            ast.Name(_CONDITION, ast.Load()),
            [ast.Constant(self.function), ast.Constant(place), inner],
            [],
        )
        return ast.copy_location(call, test)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return self._condition(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        node.test = self._condition(node.test)
        node.body = self.visit(node.body)
        node.orelse = self.visit(node.orelse)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        variable = self.keep.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if variable is None:
            return node
        return ast.copy_location(ast.NamedExpr(ast.Name(variable, ast.Store()), node), node)

    def _report_line(self, line: int) -> ast.stmt:
        return ast.parse(f"{_LINE}(({self.function!r}, {str(line)!r}))").body[0]

    def _report_row(self, predicate: Predicate) -> ast.stmt:
        inputs = ", ".join(predicate.inputs)
        return ast.parse(f"{_ROW}({predicate.name!r}, ({inputs},))").body[0]


def _is_assertion(statement: ast.stmt) -> bool:
    """Whether the statement says what always holds: no outcome of it is another branch."""
    return isinstance(statement, ast.Assert)


def _called_directly(statement: ast.stmt) -> set[str]:
    """Names called by the statement itself, not by the blocks inside it."""
    names = set()
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.add(node.func.id)
        for name, value in ast.iter_fields(node):
            if name in ("body", "orelse", "finalbody", "handlers") and isinstance(node, ast.stmt):
                continue
            pending.extend(
                v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST)
            )
    return names


def _at(statement: ast.stmt, line: int) -> ast.stmt:
    for node in ast.walk(statement):
        if isinstance(node, (ast.stmt, ast.expr)):
            node.lineno = node.end_lineno = line
            node.col_offset = node.end_col_offset = 0
    return statement
