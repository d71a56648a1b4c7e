"""A tiny file of functions to link: a counter with a limit, in a few versions."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from equivalence.series import Patch, Series, collect
from models.kernel.port import extern, ported, static_data

LIMIT = 3
counter: list[int]


@static_data
def init_counter() -> None:
    """An empty counter."""
    global counter
    counter = [0]


@extern
def may_add(count: int, force: bool) -> bool:
    """Whether one more fits."""
    raise AssertionError


@ported("toy.c", "__add_one")
def _add_one(force: bool) -> int:
    """Count one up, if it fits."""
    room = get_room(counter[0])
    if not may_add(counter[0], force) or room < -1:
        return -1
    counter[0] += 1
    return counter[0]


def get_room(count: int) -> int:
    """What is left."""
    return LIMIT - count


def may_add_base(count: int, force: bool) -> bool:
    """As it was."""
    if force:
        return True
    return count < LIMIT


def may_add_same(count: int, force: bool) -> bool:
    """Other words, same code."""
    # A comment and a line of difference.

    if force:
        return True

    return count < LIMIT


def may_add_loose(count: int, force: bool) -> bool:
    """Off by one."""
    if force:
        return True
    return count <= LIMIT


def calls_missing() -> int:
    """Uses what no step defines."""
    return not_there(1)  # type: ignore[name-defined, no-any-return]  # noqa: F821


def calls_wrongly() -> bool:
    """One argument short."""
    return may_add(1)  # type: ignore[call-arg]


def module(**names: Any) -> ModuleType:
    """A module of these names."""
    made = ModuleType("toy")
    vars(made).update(names)
    made.__annotations__ = {"counter": list}
    return made


def toy(**more: Any) -> ModuleType:
    """The toy's module, with more names."""
    names: dict[str, Any] = {
        "LIMIT": LIMIT,
        "init_counter": init_counter,
        "may_add": may_add,
        "_add_one": _add_one,
        "get_room": get_room,
    }
    return module(**names, **more)


def series(*patches: Patch, **more: Any) -> Series:
    """A series on the toy whose base defines may_add."""
    base = collect([toy(**more), module(may_add=may_add_base)])
    return Series("toy", "A toy", base, patches)
