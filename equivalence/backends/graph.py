"""Copies of a system's state: a graph of plain objects, copied without recursion.

The state consists of slotted objects, lists, dicts, sets and tuples; functions, classes and
scalars are shared. The standard deep copy recurses along linked lists and is several times slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

_ATOMS = frozenset(
    {
        int,
        str,
        bool,
        float,
        bytes,
        type(None),
        FunctionType,
        BuiltinFunctionType,
        type,
        frozenset,
        range,
    }
)


def copy_graph(roots: Mapping[str, Any]) -> dict[str, Any]:
    """Copy everything reachable from ``roots``; shared objects stay shared in the copy.

    Raises:
        TypeError: an object whose members cannot be listed.
    """
    made: dict[int, Any] = {}
    keep: list[Any] = []
    pending: list[tuple[Any, Any]] = []

    def shell(value: Any) -> Any:
        kind: Any = type(value)
        if kind in _ATOMS:
            return value
        key = id(value)
        if key in made:
            return made[key]
        if isinstance(value, tuple):
            parts = [shell(part) for part in value]
            fresh = tuple(parts) if kind is tuple else kind._make(parts)
            if all(a is b for a, b in zip(parts, value, strict=True)):
                fresh = value
        elif isinstance(value, type):
            return value
        else:
            if kind not in (list, dict, set):
                _members(kind)
            fresh = kind.__new__(kind)
            pending.append((value, fresh))
        made[key] = fresh
        keep.append(value)
        return fresh

    copies = {name: shell(value) for name, value in roots.items()}
    while pending:
        source, target = pending.pop()
        if isinstance(source, list):
            target.extend([shell(item) for item in source])
        elif isinstance(source, dict):
            for key, item in source.items():
                target[shell(key)] = shell(item)
        elif isinstance(source, set):
            target.update([shell(item) for item in source])
        else:
            for member in _members(type(source)):
                try:
                    value = getattr(source, member)
                except AttributeError:
                    continue
                setattr(target, member, shell(value))
            if hasattr(source, "__dict__"):
                for member, value in source.__dict__.items():
                    setattr(target, member, shell(value))
    return copies


_MEMBERS: dict[type[Any], tuple[str, ...]] = {}


def _members(kind: type[Any]) -> tuple[str, ...]:
    known = _MEMBERS.get(kind)
    if known is not None:
        return known
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.extend([slots] if isinstance(slots, str) else slots)
    if not names and "__dict__" not in dir(kind):
        msg = f"cannot copy a {kind.__name__}: it lists no members"
        raise TypeError(msg)
    members = tuple(n for n in names if n not in ("__dict__", "__weakref__"))
    _MEMBERS[kind] = members
    return members
