"""A step of a series as one readable file: its functions, in the order of the kernel's file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Sequence
from types import FunctionType

from equivalence.series import Step, c_name


def file_order(*files: Iterable[str]) -> tuple[str, ...]:
    """The names of all files in one order: what a later file adds stands after its predecessor."""
    order: list[str] = []
    for names in files:
        place = 0
        for name in names:
            if name in order:
                place = order.index(name) + 1
            else:
                order.insert(place, name)
                place += 1
    return tuple(order)


def functions_of(step: Step, order: Sequence[str]) -> list[tuple[str, FunctionType]]:
    """The step's functions by name: those of the file in its order, all if it has none of them."""
    functions = step.functions
    named = [(name, functions[name]) for name in order if name in functions]
    return named or list(functions.items())


def find(step: Step, name: str) -> FunctionType | None:
    """A function by the name that its Python port or its C original has."""
    if name in step.functions:
        return step.functions[name]
    return next((f for f in step.functions.values() if c_name(f) == name), None)


def source(function: FunctionType) -> str:
    """The source of one function."""
    return inspect.getsource(function).rstrip() + "\n"


def listing(step: Step, order: Sequence[str]) -> str:
    """A step as one file."""
    head = f'"""Step {step.number} of {step.series} ({step.name}), as it is linked."""\n'
    bodies = [source(function) for _, function in functions_of(step, order)]
    return "\n\n".join([head, *bodies])


def difference(one: Step, other: Step, order: Sequence[str]) -> list[str]:
    """The unified difference between two steps, without line ends."""
    return list(
        difflib.unified_diff(
            listing(one, order).splitlines(),
            listing(other, order).splitlines(),
            f"step {one.number} ({one.name})",
            f"step {other.number} ({other.name})",
            lineterm="",
            n=5,
        )
    )
