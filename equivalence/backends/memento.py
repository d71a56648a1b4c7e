"""Snapshots in place: what every object holds is noted, and put back into the same objects.

Much cheaper than a copy, as nothing is made anew: a snapshot notes the members of each
object that can change, and going back writes them again. Objects stay the same ones, so a snapshot
is good for the system that it was taken of and no other. What a later state alone can reach is left
as it is; nothing refers to it any more.

:func:`form` is the other use of the same walk: a text-like tuple that two graphs share exactly if
they are the same up to the identities of their objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

_ATOMS: Final = frozenset(
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
        object,
        frozenset,
        range,
    }
)
Restore = Callable[[Any, Any], None]
Saved = tuple[Restore, Any, Any]


def capture(roots: Mapping[str, Any]) -> list[Saved]:
    """What everything reachable from ``roots`` holds: how to put it back, where, and what.

    Raises:
        TypeError: an object whose members cannot be listed.
    """
    seen: set[int] = set()
    saved: list[Saved] = []
    pending: list[Any] = list(roots.values())
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _ATOMS or id(value) in seen:
            continue
        seen.add(id(value))
        if kind is list:
            pending += value
            saved.append((_restore_list, value, value.copy()))
        elif kind is dict:
            pending += value
            pending += value.values()
            saved.append((_restore_dict, value, value.copy()))
        elif kind is set:
            pending += value
            saved.append((_restore_set, value, value.copy()))
        elif isinstance(value, tuple):
            pending += value
        elif not isinstance(value, type):
            names, read, write, has_dict = _access(kind)
            try:
                held = read(value)
            except AttributeError:
                some = {name: getattr(value, name) for name in names if hasattr(value, name)}
                pending += some.values()
                saved.append((_restore_some, value, (names, some)))
            else:
                pending += held
                saved.append((write, value, held))
            if has_dict:
                pending.append(value.__dict__)
    return saved


def restore(saved: Iterable[Saved]) -> None:
    """Put back what :func:`capture` noted."""
    for put, target, held in saved:
        put(target, held)


def form(roots: Mapping[str, Any], leave_out: frozenset[str] = frozenset()) -> tuple[Any, ...]:
    """All that is reachable from ``roots``, objects numbered by first use, as one flat tuple.

    Members named in ``leave_out`` (``Kind.member``, or the name of a root) are not looked at. Dicts
    are shown in their order, as code may walk them.
    """
    numbers: dict[int, int] = {}
    keep: list[Any] = []
    out: list[Any] = []
    pending: list[Any] = [v for name, v in roots.items() if name not in leave_out]
    pending.reverse()
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _ATOMS or isinstance(value, type):
            shown = kind in (FunctionType, BuiltinFunctionType) or isinstance(value, type)
            out.append(value.__name__ if shown else value)
            continue
        known = numbers.get(id(value))
        if known is not None:
            out.append(("again", known))
            continue
        numbers[id(value)] = len(numbers)
        keep.append(value)
        if kind in (list, set) or isinstance(value, tuple):
            parts = list(value)
            out.append((kind.__name__, len(parts)))
        elif kind is dict:
            parts = [part for item in value.items() for part in item]
            out.append(("dict", len(value)))
        else:
            every, _, _, has_dict = _access(kind)
            names = [
                n for n in every if f"{kind.__name__}.{n}" not in leave_out and hasattr(value, n)
            ]
            parts = [getattr(value, name) for name in names]
            if has_dict:
                parts.append(value.__dict__)
            out.append((kind.__name__, *names))
        pending += parts[::-1]
    return tuple(out)


def _restore_list(target: Any, held: Any) -> None:
    target[:] = held


def _restore_dict(target: Any, held: Any) -> None:
    target.clear()
    target.update(held)


def _restore_set(target: Any, held: Any) -> None:
    target.clear()
    target.update(held)


def _restore_some(target: Any, held: Any) -> None:
    """An object some of whose members are not set."""
    names, some = held
    for name in names:
        if name in some:
            setattr(target, name, some[name])
        elif hasattr(target, name):
            delattr(target, name)


Access = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], Restore, bool]
_ACCESS: Final[dict[type[Any], Access]] = {}


def _access(kind: type[Any]) -> Access:
    """An object's slots, a reader of all at once and a writer, as fast as Python can; and whether
    it has a dict beside them."""
    known = _ACCESS.get(kind)
    if known is None:
        names = _members(kind)
        read = f"({''.join(f'target.{name}, ' for name in names)})"
        write = "".join(f"target.{name}, " for name in names) + "= held" if names else "pass"
        space: dict[str, Any] = {}
        exec(f"def read(target): return {read}\ndef write(target, held): {write}\n", space)
        known = _ACCESS[kind] = names, space["read"], space["write"], "__dict__" in dir(kind)
    return known


def _members(kind: type[Any]) -> tuple[str, ...]:
    """The slots of a class and its bases.

    Raises:
        TypeError: it has neither slots nor a dict.
    """
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.extend([slots] if isinstance(slots, str) else slots)
    if not names and "__dict__" not in dir(kind):
        msg = f"cannot note the state of a {kind.__name__}: it lists no members"
        raise TypeError(msg)
    return tuple(n for n in names if n not in ("__dict__", "__weakref__"))
