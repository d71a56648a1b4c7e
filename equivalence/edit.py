"""Edited versions of a function: what planted bugs, rewrites and mutants are made of.

An edited function has a source of its own (registered with :mod:`linecache`), so that it is
linked, instrumented, diffed and shown like one that stands in a file.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import textwrap
import zlib
from types import CodeType, FunctionType
from typing import Any


class EditError(ValueError):
    """An edit that does not fit the function: the message names both."""


def edit(function: Any, old: str, new: str, label: str = "edited") -> FunctionType:
    """The function with ``old`` in its source replaced by ``new``.

    Raises:
        EditError: ``old`` does not occur exactly once, or the result does not parse.
    """
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function))
    count = source.count(old)
    if count != 1:
        msg = f"edit of {function.__name__}: found {old!r} {count} times, expected exactly once"
        raise EditError(msg)
    return from_source(function, source.replace(old, new), label)


def from_source(function: FunctionType, source: str, label: str) -> FunctionType:
    """A function like ``function`` with another source text; marks and globals are kept.

    Raises:
        EditError: the text is not one function.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        msg = f"edit of {function.__name__}: line {error.lineno}: {error.msg}"
        raise EditError(msg) from None
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        msg = f"edit of {function.__name__}: expected one function"
        raise EditError(msg)
    tree.body[0].decorator_list = []
    file = f"<{label} {function.__name__} {zlib.crc32(source.encode()):08x}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    flags = function.__code__.co_flags & _FUTURE
    code = compile(tree, file, "exec", dont_inherit=True, flags=flags)
    inner = next(c for c in code.co_consts if isinstance(c, CodeType))
    edited = FunctionType(inner, function.__globals__, function.__name__, function.__defaults__)
    edited.__kwdefaults__ = function.__kwdefaults__
    edited.__annotations__ = dict(function.__annotations__)
    edited.__dict__.update(function.__dict__)
    edited.__module__ = function.__module__
    return edited


#: ``from __future__ import annotations`` of the file that the function comes from.
_FUTURE = __future__.annotations.compiler_flag
