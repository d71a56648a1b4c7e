"""Edited functions: what is kept, and edits that do not fit."""

from __future__ import annotations

import inspect
import re
from types import FunctionType

import pytest

from equivalence.edit import EditError, edit, from_source


def specimen(n: int, *, step: int = 2) -> int:
    """Add."""
    return n + step


specimen.__dict__["mark"] = "kept"


def test_an_edited_function_keeps_marks_defaults_and_globals() -> None:
    edited = edit(specimen, "n + step", "n - step")
    assert (specimen(5), edited(5), edited(5, step=1)) == (7, 3, 4)
    assert edited.__dict__["mark"] == "kept"
    assert edited.__globals__ is specimen.__globals__
    assert edited.__module__ == specimen.__module__


def test_an_edited_function_has_a_source_of_its_own() -> None:
    edited = edit(specimen, "n + step", "n * step", "planted")
    assert "return n * step" in inspect.getsource(edited)
    assert re.fullmatch(r"<planted specimen [0-9a-f]{8}>", edited.__code__.co_filename)
    assert edited.__code__.co_filename != edit(specimen, "n + step", "n").__code__.co_filename


@pytest.mark.parametrize(("old", "count"), [("nothing like it", 0), ("step", 2)])
def test_an_anchor_must_occur_exactly_once(old: str, count: int) -> None:
    message = f"edit of specimen: found '{old}' {count} times, expected exactly once"
    with pytest.raises(EditError, match=message):
        edit(specimen, old, "x")


def test_what_is_not_one_function_is_refused() -> None:
    assert isinstance(specimen, FunctionType)
    with pytest.raises(EditError, match=r"edit of specimen: line 2: "):
        from_source(specimen, "def specimen(n):\n    return (\n", "edited")
    for source in ("n = 1\n", "def one(n): ...\ndef two(n): ...\n", ""):
        with pytest.raises(EditError, match="edit of specimen: expected one function"):
            from_source(specimen, source, "edited")
