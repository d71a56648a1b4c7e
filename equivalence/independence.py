"""Whether two statements may change places for certain: neither touches what the other writes.

A planted bug that exchanges such statements is none. What is said of them must be true of every
state. So a function that is called counts with all that it reads and writes, and all that those do
that it calls; a member stands for that member of every object. Whatever raises, yields, or calls
what is not known here may touch everything but local names, a lock's hook among it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import FunctionType
from typing import Final

from equivalence.series import source_tree

#: Builtins that do nothing but compute, and what only a type checker sees.
_PURE: Final = frozenset({"bool", "cast", "int", "len", "max", "min"})
#: An element of a local name: no local name, for whoever is called may have it too.
_ELEMENT: Final = ".[]"
_OPAQUE: Final = (ast.Raise, ast.Yield, ast.YieldFrom, ast.With, ast.Try, ast.Lambda)

Functions = Mapping[str, FunctionType]


@dataclass(slots=True)
class Effects:
    """What code reads and writes: names, and members as ``.name`` of any object.

    ``opaque`` says that it may touch everything but local names.
    """

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    opaque: bool = False

    def add(self, other: Effects) -> None:
        """Add what code does that is called."""
        self.reads |= other.reads
        self.writes |= other.writes
        self.opaque |= other.opaque


def independent(
    one: ast.stmt, two: ast.stmt, local: AbstractSet[str], functions: Functions
) -> bool:
    """Whether the statements have the same effect in either order, whatever the state is.

    ``local`` are the names of the function's own variables, ``functions`` what it may call.
    """
    simple = (ast.Assign, ast.AugAssign, ast.Expr)
    if not isinstance(one, simple) or not isinstance(two, simple):
        return False
    first, second = _effects(one, functions, {}), _effects(two, functions, {})
    for mine, other in ((first, second), (second, first)):
        if mine.writes & (other.reads | other.writes):
            return False
        if mine.opaque and (other.opaque or not other.reads | other.writes <= local):
            return False
    return True


def _effects(code: ast.AST, functions: Functions, known: dict[str, Effects]) -> Effects:
    found = Effects()
    for node in ast.walk(code):
        if isinstance(node, ast.Name):
            _note(found, node.id, node.ctx)
        elif isinstance(node, ast.Attribute):
            _note(found, f".{node.attr}", node.ctx)
        elif isinstance(node, ast.Subscript):
            inner = node.value
            name = f".{inner.attr}" if isinstance(inner, ast.Attribute) else _ELEMENT
            _note(found, name, node.ctx)
        elif isinstance(node, ast.Call):
            found.add(_call(node, functions, known))
        elif isinstance(node, _OPAQUE):
            found.opaque = True
        if isinstance(node, ast.AugAssign):
            found.reads.update(_targets(node.target))
    found.reads -= _PURE | functions.keys()
    return found


def _note(found: Effects, name: str, context: ast.expr_context) -> None:
    (found.reads if isinstance(context, ast.Load) else found.writes).add(name)


def _targets(target: ast.expr) -> set[str]:
    if isinstance(target, ast.Name):
        return {target.id}
    inner = target.value if isinstance(target, ast.Subscript) else target
    return {f".{inner.attr}"} if isinstance(inner, ast.Attribute) else {_ELEMENT}


def _call(call: ast.Call, functions: Functions, known: dict[str, Effects]) -> Effects:
    """What a call does beside evaluating its arguments."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    function = functions.get(name)
    if function is None:
        # A class makes an object that nobody has yet.
        return Effects(opaque=not (name in _PURE or _is_class(name)))
    if name not in known:
        # What calls itself does nothing more than what it does once.
        known[name] = Effects()
        tree = source_tree(function)
        outside = _effects(ast.Module(tree.body, []), functions, known)
        own = _own_names(tree)
        made = Effects(outside.reads - own, outside.writes - own, outside.opaque)
        known[name] = made
    return known[name]


def _is_class(name: str) -> bool:
    return name[:1].isupper() and not name.isupper() and not hasattr(builtins, name)


def _own_names(tree: ast.FunctionDef) -> set[str]:
    """The local names of a function: its parameters, and what it assigns."""
    arguments = tree.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    outer = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    stored = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    return ({argument.arg for argument in named} | stored) - outer
