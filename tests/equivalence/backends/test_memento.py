"""Snapshots in place: everything goes back, identities stay, and a snapshot can be used again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import pytest

from equivalence.backends.memento import capture, form, restore


class Pair(NamedTuple):
    """A tuple that holds a mutable object."""

    name: str
    value: list[int]


class Node:
    """A link of a chain."""

    __slots__ = ("next", "unset", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.next: Any = None


class Child(Node):
    """Members from both classes."""

    __slots__ = "extra"
    extra: list[int]


class Plain:
    """With a dict."""

    def __init__(self) -> None:
        self.items: set[int] = {1, 2}


def test_everything_goes_back_into_the_same_objects() -> None:
    node: Any = Child([1])
    node.next = node
    node.extra = [5]
    plain: Any = Plain()
    pair = Pair("x", [1])
    state: dict[str, Any] = {"a": node, "c": {"k": node}, "d": pair, "p": plain}
    saved = capture(state)
    for _ in range(2):
        node.value = None
        node.next = Node(2)
        node.extra.append(6)
        node.unset = 1
        state["c"]["new"] = 1
        pair.value.clear()
        plain.items.add(3)
        plain.other = 1
        restore(saved)
        assert node.value == [1]
        assert node.next is node
        assert node.extra == [5]
        assert not hasattr(node, "unset")
        assert state["c"] == {"k": node}
        assert pair.value == [1]
        assert plain.items == {1, 2}
        assert not hasattr(plain, "other")


def test_a_member_that_was_set_can_be_set_again() -> None:
    node: Any = Child(1)
    node.extra = [1]
    saved = capture({"n": node})
    del node.extra
    restore(saved)
    assert node.extra == [1]


def test_a_long_chain_does_not_recurse() -> None:
    first: Any = Node(0)
    last = first
    for value in range(5_000):
        last.next = Node(value)
        last = last.next
        last.unset = None
    first.unset = None
    saved = capture({"first": first})
    last.value = "changed"
    restore(saved)
    assert last.value == 4_999
    assert len(form({"first": first})) > 5_000


def test_a_class_is_no_state() -> None:
    plain: Any = Plain()
    plain.kinds = [Node, Hashable]
    saved = capture({"p": plain})
    plain.kinds.clear()
    restore(saved)
    assert plain.kinds == [Node, Hashable]
    assert not {Node, Hashable} & {one for _, one, _ in saved if isinstance(one, type)}


def test_what_lists_no_members_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot note the state of a list_iterator"):
        capture({"it": iter([1])})


def test_forms_are_equal_exactly_for_graphs_of_one_shape() -> None:
    def graph(shared: bool) -> dict[str, Any]:
        one = [1]
        node = Node(one)
        plain = Plain()
        other = one if shared else [1]
        return {"n": node, "o": other, "p": plain, "k": {"x": Pair("y", []), "f": capture}}

    assert form(graph(True)) == form(graph(True))
    assert form(graph(True)) != form(graph(False))
    changed = graph(True)
    changed["n"].value = 7
    changed["k"]["x"] = 3
    assert form(changed) != form(graph(True))
    leave_out = frozenset({"Node.value", "o", "k"})
    assert form(changed, leave_out) == form(graph(True), leave_out)
    assert form({"kind": Node}) == ("Node",)
