"""Planted bugs, made systematically: every function of a step, changed in one small way.

The operators are mistakes that refactorings make: a condition negated, a boundary off by one, an
operator, a constant or an argument exchanged for its neighbour, a statement lost or moved, an early
return, an error that enters the undoing at another label, a counter that is not updated. A mutant
is named by what it changes, not by line, so that a note on it holds while the file around changes.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from types import FunctionType
from typing import Final

from equivalence.edit import from_source
from equivalence.independence import independent
from equivalence.series import source_tree

_RELATIONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_SIGNS: Final[dict[type[ast.operator], type[ast.operator]]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
#: A block is a list of statements in one of these members.
_BLOCKS: Final = ("body", "orelse", "finalbody")
#: Names whose constants say at which label undoing begins.
LABELS: Final = frozenset({"undo", "label"})
MAX_TEXT: Final = 90


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function.

    ``old`` and ``new`` are what stood there and what stands there now; ``nth`` tells equal changes
    of one function apart. ``line`` is the line in the function's file. ``compiles`` is false where
    the types of the code say that a compiler would refuse the change.
    """

    function: str
    operator: str
    old: str
    new: str
    nth: int
    line: int
    source: str
    compiles: bool = True

    @property
    def key(self) -> str:
        """A name that holds while the file around changes."""
        return f"{self.function}: {self.operator}: {self.old} -> {self.new} #{self.nth}"


#: The operator that exchanges arguments, which a compiler refuses where their types differ.
ARGUMENTS: Final = "arguments"
#: Functions whose value does not depend on the order of their arguments, or which only a type
#: checker sees.
_SYMMETRIC: Final = frozenset({"cast", "max", "min"})
#: A change: applies itself to the tree that it was found in, and takes itself back.
Change = tuple[str, int, str, str, Callable[[], None], Callable[[], None]]


def mutants_of(
    name: str,
    function: FunctionType,
    functions: Mapping[str, FunctionType] | None = None,
    assertions: AbstractSet[str] = frozenset(),
) -> list[Mutant]:
    """All mutants of a function, in the order of its text.

    ``functions`` are those that it may call by name: their parameters say whether an exchange of
    arguments compiles, their bodies whether one of statements may matter. ``assertions`` are names
    of functions that do nothing where what they are given holds: their calls are left alone.
    """
    tree = copy.deepcopy(source_tree(function))
    tree.decorator_list = []
    refused = frozenset(_refused(tree, functions or {}))
    if ast.get_docstring(tree, clean=False) is not None:
        tree.body = tree.body[1:]
    result = _result(tree)
    tree.returns = None
    original = ast.unparse(tree)
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    sources = {original}
    for operator, line, old, new, apply, undo in sorted(
        _changes(tree, result, functions or {}, assertions), key=lambda c: c[1]
    ):
        apply()
        source = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
        undo()
        if source in sources:
            continue
        sources.add(source)
        compiles = (operator, old, new) not in refused
        old, new = _short(old), _short(new)
        nth = seen[operator, old, new] = seen[operator, old, new] + 1
        found.append(Mutant(name, operator, old, new, nth, line, source, compiles))
    assert ast.unparse(tree) == original, name
    return found


def build(mutant: Mutant, function: FunctionType) -> FunctionType:
    """The function as the mutant has it.

    Raises:
        EditError: the mutant is not of this function.
    """
    return from_source(function, mutant.source, f"mutant of {mutant.operator} in")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _changes(
    tree: ast.FunctionDef,
    result: ast.stmt,
    functions: Mapping[str, FunctionType],
    assertions: AbstractSet[str],
) -> Iterator[Change]:
    assigned = {arg.arg for arg in tree.args.args}
    local = assigned | {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    # An element of a constant index is what a pointer points to.
    pointed = {node.slice for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    asserted = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and _called(node) in assertions
        for inner in ast.walk(node)
    }

    def exchangeable(one: ast.stmt, two: ast.stmt) -> bool:
        plain = (ast.Expr, ast.Assign, ast.AugAssign)
        if not isinstance(one, plain) or not isinstance(two, plain) or {one, two} & asserted:
            return False
        casts = _is_cast(one.value) or _is_cast(two.value)
        return not casts and not independent(one, two, local, functions)

    for node in ast.walk(tree):
        if node in asserted:
            continue
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield from _negated(node, "test", node.test)
        if isinstance(node, ast.BoolOp):
            yield from _bool_op(node)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            yield from _compared(node)
        elif isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            yield _set("sign", node, "op", _SIGNS[type(node.op)](), node)
        elif isinstance(node, ast.Call):
            yield from _arguments(node)
        elif isinstance(node, ast.Constant) and type(node.value) is int and node not in pointed:
            yield from _constant(node, tree)
        for name in _BLOCKS:
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                yield from _block(block, result, assigned, asserted, exchangeable)


def _set(
    operator: str, node: ast.AST, member: str, value: object, shown: ast.AST, new: str = ""
) -> Change:
    old = getattr(node, member)

    def apply() -> None:
        setattr(node, member, value)

    def undo() -> None:
        setattr(node, member, old)

    before = ast.unparse(shown)
    apply()
    after = new or ast.unparse(shown)
    undo()
    return operator, getattr(shown, "lineno", 0), before, after, apply, undo


def _negated(node: ast.AST, member: str, test: ast.expr) -> Iterator[Change]:
    if isinstance(test, ast.Constant):
        return
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = test.operand
    else:
        value = ast.copy_location(ast.UnaryOp(ast.Not(), test), test)
    change = _set("negate", node, member, value, test, ast.unparse(value))
    yield change[0], test.lineno, *change[2:]


def _bool_op(node: ast.BoolOp) -> Iterator[Change]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield _set("and-or", node, "op", other, node)
    for place in range(len(node.values)):
        rest = node.values[:place] + node.values[place + 1 :]
        yield _set("lost condition", node, "values", rest, node)


def _compared(node: ast.Compare) -> Iterator[Change]:
    other = _RELATIONS.get(type(node.ops[0]))
    if other is not None:
        yield _set("boundary", node, "ops", [other()], node)


def _arguments(node: ast.Call) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in _SYMMETRIC:
        return
    for place in range(len(node.args) - 1):
        one, two = node.args[place : place + 2]
        if ast.dump(one) != ast.dump(two):
            swapped = [*node.args[:place], two, one, *node.args[place + 2 :]]
            yield _set(ARGUMENTS, node, "args", swapped, node)


def _refused(
    tree: ast.FunctionDef, functions: Mapping[str, FunctionType]
) -> Iterator[tuple[str, str, str]]:
    """Exchanges of arguments whose parameters are of different types: (operator, old, new)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            callee = functions.get(node.func.id)
            if callee is None:
                continue
            types = [_type(arg.annotation) for arg in source_tree(callee).args.args]
            for place, (one, two) in enumerate(pairwise(types)):
                if one != two and place + 1 < len(node.args):
                    swapped = copy.copy(node)
                    swapped.args = list(node.args)
                    swapped.args[place : place + 2] = reversed(node.args[place : place + 2])
                    yield ARGUMENTS, ast.unparse(node), ast.unparse(swapped)


def _type(annotation: ast.expr | None) -> str:
    """What a type is to a compiler of C: numbers are all alike, a pointer may be null."""
    words = [] if annotation is None else ast.unparse(annotation).split(" | ")
    plain = [word.partition("[")[0] for word in words if word != "None"]
    if plain in (["int"], ["bool"]):
        return "number" if "None" not in words else "pointer to number"
    return " ".join(plain)


def _constant(node: ast.Constant, tree: ast.FunctionDef) -> Iterator[Change]:
    value = node.value
    assert isinstance(value, int)
    where = _statement_of(node, tree)
    operator = "label" if _names(where) & LABELS else "constant"
    for step in (1, -1):
        change = _set(operator, node, "value", value + step, where)
        yield change


def _statement_of(node: ast.AST, tree: ast.FunctionDef) -> ast.AST:
    """The smallest statement, or test of one, that holds a node."""
    best: ast.AST = node
    for one in ast.walk(tree):
        if isinstance(one, ast.stmt) and one is not tree:
            parts = [one] if not hasattr(one, "body") else [getattr(one, "test", None)]
            for part in parts:
                if part is not None and any(inner is node for inner in ast.walk(part)):
                    best = part
    return best


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _block(
    block: list[ast.stmt],
    result: ast.stmt,
    assigned: set[str],
    asserted: set[ast.AST],
    exchangeable: Callable[[ast.stmt, ast.stmt], bool],
) -> Iterator[Change]:
    for place, statement in enumerate(block):
        if statement not in asserted and _droppable(statement, assigned):
            operator = "lost update" if _is_update(statement) else "drop"
            yield _replace(operator, block, place, 1, [ast.Pass()], "pass")
        if isinstance(statement, ast.Assign):
            assigned.update(t.id for t in statement.targets if isinstance(t, ast.Name))
        if place + 1 < len(block) and exchangeable(statement, block[place + 1]):
            both = [block[place + 1], statement]
            yield _replace("order", block, place, 2, both, "; ".join(map(ast.unparse, both)))
    first = block[0]
    if not isinstance(first, (ast.Return, ast.Raise, ast.Break, ast.Continue, ast.Pass)):
        early = [copy.deepcopy(result), first]
        yield _replace("early return", block, 0, 1, early, f"{ast.unparse(result)}; ...")


def _replace(
    operator: str, block: list[ast.stmt], place: int, count: int, put: list[ast.stmt], new: str
) -> Change:
    old = block[place : place + count]

    def apply() -> None:
        block[place : place + count] = put

    def undo() -> None:
        block[place : place + len(put)] = old

    texts = "; ".join(ast.unparse(statement) for statement in old)
    return operator, old[0].lineno, texts, new, apply, undo


def _droppable(statement: ast.stmt, assigned: set[str]) -> bool:
    """Whether the function still makes sense without it: no name is left without a value."""
    if isinstance(statement, (ast.AugAssign, ast.Break, ast.Continue, ast.If)):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call)
    if isinstance(statement, ast.Assign) and not _is_cast(statement.value):
        names = [target for target in statement.targets if isinstance(target, ast.Name)]
        return all(name.id in assigned for name in names) and not any(
            isinstance(target, ast.Tuple) for target in statement.targets
        )
    return False


def _called(statement: ast.Expr) -> str:
    call = statement.value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
        return call.func.id
    return ""


def _is_cast(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "cast"


def _is_update(statement: ast.stmt) -> bool:
    """Whether a member or an element is counted up or down."""
    if isinstance(statement, ast.AugAssign):
        return not isinstance(statement.target, ast.Name)
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    target = statement.targets[0]
    if isinstance(target, ast.Name):
        return False
    return ast.unparse(target) in ast.unparse(statement.value)


def _result(tree: ast.FunctionDef) -> ast.stmt:
    """What an early return returns: what the function returns elsewhere, if that is a constant,
    else nothing, null or zero, as its type wants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and node.value is not None and _is_constant(node.value):
            return node
    return ast.parse(f"return {_zero(tree.returns)}".rstrip()).body[0]


def _is_constant(value: ast.expr) -> bool:
    return not any(
        isinstance(node, ast.Call) or (isinstance(node, ast.Name) and not node.id.isupper())
        for node in ast.walk(value)
    )


def _zero(returns: ast.expr | None) -> str:
    if isinstance(returns, ast.Subscript) and ast.unparse(returns.value) == "tuple":
        parts = returns.slice.elts if isinstance(returns.slice, ast.Tuple) else [returns.slice]
        return "({},)".format(", ".join(map(_zero, parts)))
    text = "None" if returns is None else ast.unparse(returns)
    if text == "None":
        return ""
    return {"int": "0", "bool": "False"}.get(text, "None")
