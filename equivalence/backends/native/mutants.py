"""Planted bugs in the C of a tree: one small change of the text of one function.

The operators are those of :mod:`equivalence.mutants`. The text is parsed by tree-sitter, which goes
on after what is no plain C: of a loop that is a macro (``list_for_each_entry()``) it has a call
without a semicolon and a block. Such a call is left alone, everything inside the block is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from equivalence.mutants import MAX_TEXT, Mutant

_RELATIONS: Final = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_SIGNS: Final = {"+": "-", "-": "+", "+=": "-=", "-=": "+=", "++": "--", "--": "++"}
_TESTED: Final = frozenset(
    {"if_statement", "while_statement", "do_statement", "for_statement", "conditional_expression"}
)
_UPDATES: Final = frozenset({"assignment_expression", "update_expression"})
#: Statements whose loss leaves a function that still makes sense.
_LOST: Final = frozenset({"break_statement", "continue_statement", "if_statement"})
_LEAVING: Final = frozenset(
    {"return_statement", "goto_statement", "break_statement", "continue_statement"}
)


@dataclass(frozen=True, slots=True)
class CMutant(Mutant):
    """One change of the text of one file: the bytes from ``start`` to ``end`` become ``put``."""

    file: str = ""
    start: int = 0
    end: int = 0
    put: bytes = b""

    def apply(self, text: bytes) -> bytes:
        """The text of the file with the change made."""
        return text[: self.start] + self.put + text[self.end :]


@dataclass(frozen=True, slots=True)
class _Edit:
    operator: str
    node: Node
    start: int
    end: int
    put: str
    #: What stands there now, as it is shown; "": ``put``.
    new: str = ""
    #: What stood there, as it is shown; "": the node.
    old: str = ""


@lru_cache(maxsize=8)
def functions_of(text: bytes) -> Mapping[str, Node]:
    """The functions that a file defines, by name; the first where there are several."""
    found: dict[str, Node] = {}
    for node in _walk(_parse(text)):
        if node.type == "function_definition":
            name = _name(node)
            if name:
                found.setdefault(name, node)
    return found


def c_mutants_of(
    file: str, text: bytes, name: str, assertions: AbstractSet[str] = frozenset()
) -> list[CMutant]:
    """All mutants of a function of a file, in the order of its text; none if it is not there.

    Calls of ``assertions`` as statements are left alone.
    """
    function = functions_of(text).get(name)
    if function is None:
        return []
    seen: Counter[tuple[str, str, str]] = Counter()
    made: set[tuple[int, int, str]] = set()
    found = []
    for edit in sorted(_edits(function, assertions), key=lambda e: (e.start, e.end)):
        place = edit.start, edit.end, edit.put
        old = _short(edit.old or _text(edit.node))
        new = _short(edit.new or edit.put)
        if place in made or text[edit.start : edit.end].decode(errors="replace") == edit.put:
            continue
        made.add(place)
        nth = seen[edit.operator, old, new] = seen[edit.operator, old, new] + 1
        line = edit.node.start_point.row + 1
        found.append(
            CMutant(
                name,
                edit.operator,
                old,
                new,
                nth,
                line,
                "",
                file=file,
                start=edit.start,
                end=edit.end,
                put=edit.put.encode(),
            )
        )
    return found


def _parse(text: bytes) -> Node:
    return _parser().parse(text).root_node


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_c.language()))


def _walk(node: Node, without: AbstractSet[str] = frozenset()) -> Iterator[Node]:
    """A node and all inside it, but for statements that call one of some names."""
    if without and _called(node) in without:
        return
    yield node
    for child in node.children:
        yield from _walk(child, without)


def _called(statement: Node) -> str:
    """The function that a statement calls, if that is all it does."""
    call = statement.named_child(0) if statement.type == "expression_statement" else None
    if call is None or call.type != "call_expression":
        return ""
    function = call.child_by_field_name("function")
    return "" if function is None else _text(function)


def _name(function: Node) -> str:
    node = function.child_by_field_name("declarator")
    while node is not None and node.type != "identifier":
        node = node.child_by_field_name("declarator")
    return "" if node is None else _text(node)


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _edits(function: Node, assertions: AbstractSet[str]) -> Iterator[_Edit]:
    body = function.child_by_field_name("body")
    if body is None:
        return
    result = _result(function)
    labels = [_text(n) for n in _walk(body) if n.type == "statement_identifier" and _defines(n)]
    for node in _walk(body, assertions):
        if node.type in _TESTED:
            yield from _negated(node)
        if node.type == "binary_expression":
            yield from _binary(node)
        elif node.type in _UPDATES:
            yield from _signed(node)
        elif node.type == "call_expression":
            yield from _arguments(node)
        elif node.type == "number_literal":
            yield from _constant(node)
        elif node.type == "goto_statement":
            yield from _label(node, labels)
        elif node.type == "compound_statement":
            yield from _block(node, result, assertions)


def _replace(operator: str, node: Node, put: str) -> _Edit:
    return _Edit(operator, node, node.start_byte, node.end_byte, put)


def _negated(node: Node) -> Iterator[_Edit]:
    test = node.child_by_field_name("condition")
    if test is None:
        return
    if test.type == "parenthesized_expression" and test.named_child_count == 1:
        inner = test.named_child(0)
        assert inner is not None
        test = inner
    if test.type == "unary_expression" and _text(test).startswith("!"):
        operand = test.child_by_field_name("argument")
        assert operand is not None
        yield _replace("negate", test, f"({_text(operand)})")
    elif test.type != "number_literal":
        yield _replace("negate", test, f"!({_text(test)})")


def _binary(node: Node) -> Iterator[_Edit]:
    sign = node.child_by_field_name("operator")
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if sign is None or left is None or right is None or node.has_error:
        return
    word = _text(sign)
    if word in ("&&", "||"):
        other = "||" if word == "&&" else "&&"
        whole = f"({_text(left)} {other} {_text(right)})"
        yield _Edit("and-or", node, node.start_byte, node.end_byte, whole)
        for kept in (left, right):
            yield _replace("lost condition", node, f"({_text(kept)})")
    for operator, changes in (("boundary", _RELATIONS), ("sign", _SIGNS)):
        if word in changes:
            new = f"{_text(left)} {changes[word]} {_text(right)}"
            yield _Edit(operator, node, sign.start_byte, sign.end_byte, changes[word], new)


def _signed(node: Node) -> Iterator[_Edit]:
    sign = node.child_by_field_name("operator")
    word = "" if sign is None else _text(sign)
    if sign is not None and word in _SIGNS:
        new = _text(node).replace(word, _SIGNS[word], 1)
        yield _Edit("sign", node, sign.start_byte, sign.end_byte, _SIGNS[word], new)


def _arguments(node: Node) -> Iterator[_Edit]:
    given = node.child_by_field_name("arguments")
    if given is None or given.has_error:
        return
    values = [child for child in given.named_children if child.type != "comment"]
    for place in range(len(values) - 1):
        one, two = values[place : place + 2]
        if _text(one) != _text(two):
            texts = list(map(_text, values))
            texts[place : place + 2] = _text(two), _text(one)
            new = f"{_text(node)[: given.start_byte - node.start_byte]}({', '.join(texts)})"
            yield _Edit(
                "arguments",
                node,
                one.start_byte,
                two.end_byte,
                f"{_text(two)}, {_text(one)}",
                new,
            )


def _constant(node: Node) -> Iterator[_Edit]:
    parent = node.parent
    digits = _text(node).rstrip("uUlL")
    if parent is None or parent.type in ("case_statement", "array_declarator"):
        return
    if not digits.isdecimal() or (digits != "0" and digits.startswith("0")):
        return
    where = parent
    for step in (1, -1):
        value = int(digits) + step
        put = str(value) if value >= 0 else f"({value})"
        offset = node.start_byte - where.start_byte
        shown = (where.text or b"")[:offset].decode(errors="replace") + put
        shown += (where.text or b"")[offset + len(_text(node)) :].decode(errors="replace")
        yield _Edit("constant", where, node.start_byte, node.end_byte, put, shown)


def _defines(label: Node) -> bool:
    return label.parent is not None and label.parent.type == "labeled_statement"


def _label(node: Node, labels: list[str]) -> Iterator[_Edit]:
    """The label before and the label after the one that is gone to."""
    target = node.child_by_field_name("label")
    if target is None or _text(target) not in labels:
        return
    place = labels.index(_text(target))
    for other in (place - 1, place + 1):
        if 0 <= other < len(labels):
            new = f"goto {labels[other]};"
            yield _Edit("label", node, target.start_byte, target.end_byte, labels[other], new)


def _block(block: Node, result: str, assertions: AbstractSet[str]) -> Iterator[_Edit]:
    inner = [child for child in block.named_children if child.type != "comment"]
    for place, statement in enumerate(inner):
        if statement.has_error or _called(statement) in assertions:
            continue
        operator = _loss(statement)
        if operator:
            yield _replace(operator, statement, ";")
        if place + 1 < len(inner) and _called(inner[place + 1]) not in assertions:
            yield from _exchanged(statement, inner[place + 1])
    first = next((one for one in inner if one.type != "declaration"), None)
    if first is not None and first.type not in _LEAVING:
        put = f"{result} {_text(first)}"
        yield _Edit("early return", first, first.start_byte, first.end_byte, put, f"{result} ...")


def _loss(statement: Node) -> str:
    """The operator that a lost statement is counted under; "": it is not to be lost."""
    if statement.type in _LOST:
        return "drop"
    if statement.type != "expression_statement" or statement.named_child_count != 1:
        return ""
    inner = statement.named_child(0)
    assert inner is not None
    if inner.type == "call_expression":
        return "drop"
    if inner.type not in _UPDATES:
        return ""
    target = inner.child_by_field_name("left") or inner.child_by_field_name("argument")
    if target is None or target.type == "identifier":
        return "drop"
    sign = inner.child_by_field_name("operator")
    return "lost update" if sign is not None and _text(sign) != "=" else "drop"


def _exchanged(one: Node, two: Node) -> Iterator[_Edit]:
    plain = "expression_statement"
    if one.type == two.type == plain and not two.has_error and _text(one) != _text(two):
        old, new = f"{_text(one)} {_text(two)}", f"{_text(two)} {_text(one)}"
        yield _Edit("order", one, one.start_byte, two.end_byte, new, old=old)


def _result(function: Node) -> str:
    """An early return: of a constant that the function returns elsewhere, else of nothing, null or
    zero, as its type wants."""
    declarator = function.child_by_field_name("declarator")
    returns = function.child_by_field_name("type")
    if declarator is not None and declarator.type == "pointer_declarator":
        return "return NULL;"
    if returns is not None and _text(returns) == "void":
        return "return;"
    for node in _walk(function):
        if node.type == "return_statement" and node.named_child_count == 1:
            value = node.named_child(0)
            assert value is not None
            if _is_constant(value):
                return _text(node)
    return "return 0;"


def _is_constant(value: Node) -> bool:
    return not any(
        node.type == "call_expression" or (node.type == "identifier" and not _text(node).isupper())
        for node in _walk(value)
    )
