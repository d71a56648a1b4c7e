"""Copies of a state: shared stays shared, cycles and long chains work, nothing leaks back."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from equivalence.backends.graph import copy_graph


class Pair(NamedTuple):
    """A tuple that holds a mutable object."""

    name: str
    value: list[int]


class Node:
    """A link of a chain."""

    __slots__ = ("next", "unset", "value")

    def __init__(self, value: object) -> None:
        self.value = value
        self.next: Node | None = None


class Child(Node):
    """Members from both classes."""

    __slots__ = "extra"
    extra: list[int]


class Plain:
    """With a dict."""

    def __init__(self) -> None:
        self.items: set[int] = {1, 2}


def test_shared_and_cyclic_objects_stay_so() -> None:
    node = Node([1])
    node.next = node
    state = {"a": node, "b": node.value, "c": {"k": node}, "d": Pair("x", [1]), "e": (1, "y")}
    copy = copy_graph(state)
    assert copy["a"] is not node
    assert copy["a"].next is copy["a"]
    assert copy["b"] is copy["a"].value
    assert copy["c"]["k"] is copy["a"]
    assert type(copy["d"]) is Pair
    assert copy["d"].value is not state["d"].value  # type: ignore[attr-defined]
    assert copy["e"] is state["e"]
    copy["b"].append(2)
    assert node.value == [1]
    assert not hasattr(copy["a"], "unset")


def test_a_long_chain_does_not_recurse() -> None:
    first = node = Node(0)
    for i in range(10_000):
        node.next = Node(i)
        node = node.next
    copied = copy_graph({"first": first})["first"]
    length = 0
    while copied.next is not None:
        copied = copied.next
        length += 1
    assert length == 10_000


def test_members_of_base_classes_and_dicts_are_copied() -> None:
    child = Child(1)
    child.extra = [3]
    plain = Plain()
    copy = copy_graph({"child": child, "plain": plain, "kind": Child, "f": copy_graph})
    assert copy["child"].extra == [3]
    assert copy["child"].extra is not child.extra
    assert copy["plain"].items == {1, 2}
    assert copy["plain"].items is not plain.items
    assert copy["kind"] is Child
    assert copy["f"] is copy_graph


def test_what_cannot_be_copied_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot copy a"):
        copy_graph({"it": iter([1])})
