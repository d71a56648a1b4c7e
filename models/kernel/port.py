# Fidelity: CUSTOM
"""Marks on ported functions; the linker and the reports read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Origin(NamedTuple):
    """Which kernel function a Python function ports."""

    file: str
    name: str


def ported(file: str, name: str) -> Callable[[F], F]:
    """Mark a function as the port of ``name`` in the kernel's ``file``.

    A C name with a leading ``__`` is written with one ``_`` in Python; reports print the C name.
    """

    def mark(function: F) -> F:
        function.__dict__["__ported__"] = Origin(file, name)
        return function

    return mark


def extern(function: F) -> F:
    """Mark a declaration without a body: each step of a series must define it.

    Functions that a built-in series changes are declared once, here in ``models``, so that the
    functions that call them can be ported once; linking fails if a step leaves one undefined.
    """
    function.__dict__["__extern__"] = True
    return function


def static_data(function: F) -> F:
    """Mark a function that sets the global variables of its file to their initial values.

    Global variables are declared at module level by annotation only; the linked copy of this
    function assigns them, in every system's own namespace, each time a system boots.
    """
    function.__dict__["__static_data__"] = True
    return function
