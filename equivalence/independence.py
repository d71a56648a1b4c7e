"""Whether two statements may change places for certain: neither touches what the other writes.

A planted bug that exchanges such statements is none. What is said of them must be true of every
state: whatever calls something may touch every member of every object, and what is written through
an index of a local name is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

#: Builtins that do nothing but compute.
_PURE: Final = frozenset({"bool", "cast", "int", "len", "max", "min"})
#: An element of something: no local name, for whoever is called may have it too.
_ELEMENT: Final = ".[]"


@dataclass(slots=True)
class _Touched:
    """What a statement reads and writes: names, and members as ``.name`` of any object.

    ``calls`` says that it calls what may touch everything but local names.
    """

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    calls: bool = False


def independent(one: ast.stmt, two: ast.stmt, local: AbstractSet[str]) -> bool:
    """Whether the statements have the same effect in either order, whatever the state is.

    ``local`` are the names of the function's own variables.
    """
    first, second = _touched(one), _touched(two)
    if first is None or second is None:
        return False
    for mine, other in ((first, second), (second, first)):
        if mine.writes & (other.reads | other.writes):
            return False
        if mine.calls and (other.calls or not other.reads | other.writes <= local):
            return False
    return True


def _touched(statement: ast.stmt) -> _Touched | None:
    """What a statement touches; None: more than can be said."""
    targets: list[ast.expr]
    if isinstance(statement, ast.AugAssign):
        targets, values = [statement.target], [statement.target, statement.value]
    elif isinstance(statement, ast.Assign):
        targets, values = statement.targets, [statement.value]
    elif isinstance(statement, ast.Expr):
        targets, values = [], [statement.value]
    else:
        return None
    touched = _Touched()
    for value in values:
        touched.calls |= any(isinstance(n, ast.Call) and not _pure(n) for n in ast.walk(value))
        touched.reads.update(map(_name, _named(value)))
        if any(isinstance(n, ast.Subscript) for n in ast.walk(value)):
            touched.reads.add(_ELEMENT)
    touched.reads -= _PURE
    for target in targets:
        where = target.value if isinstance(target, ast.Subscript) else target
        if isinstance(where, ast.Name) and where is not target:
            return None
        if not isinstance(where, (ast.Name, ast.Attribute)):
            return None
        touched.writes.add(_name(where))
        # The object that is written to, and the index, are read.
        touched.reads.update(_name(n) for n in _named(target) if n is not where)
    return touched


def _pure(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in _PURE


def _named(expression: ast.expr) -> list[ast.Name | ast.Attribute]:
    return [n for n in ast.walk(expression) if isinstance(n, (ast.Name, ast.Attribute))]


def _name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else f".{node.attr}"
