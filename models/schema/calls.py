"""The calls that the operation that diverges made on both sides, and where they part."""

from __future__ import annotations

from typing import Literal

from models.schema.base import Count, Model, Text

#: What differs first: a call, the arguments or the result of one, the outcome of a condition;
#: ``nowhere`` if the two sides make the same calls and take the same branches.
Parting = Literal["call", "arguments", "result", "branch", "nowhere"]


class CallRow(Model):
    """One line of a call tree, in the order in which it ran; ``depth`` 0 is the outermost.

    A call has its arguments as ``text``, as far as they are numbers, and what it returned as
    ``result``. A branch has the condition as ``text`` and its outcome as ``result``; ``function``
    is the one that asks. ``changed`` says that the pair of steps changes the function.
    """

    kind: Literal["call", "branch"]
    depth: Count
    function: Text
    text: Text = ""
    result: Text = ""
    changed: bool = False
    first_difference: bool = False


class SourceText(Model):
    """A part of a function's source; ``marked`` and ``changed`` are line numbers of the file."""

    function: Text
    file: Text
    first_line: Count
    lines: tuple[Text, ...]
    marked: Count | None = None
    changed: tuple[Count, ...] = ()


class CallSide(Model):
    """One side: its rows, how many of them are left out before and behind, and the source.

    ``stack`` are the functions that were running where the sides part, outermost first; ``said``
    is what this side did there.
    """

    rows: tuple[CallRow, ...] = ()
    earlier: Count = 0
    later: Count = 0
    stack: tuple[Text, ...] = ()
    said: Text = ""
    source: SourceText | None = None


class CallDifference(Model):
    """A call that both sides make, with what each gave it and got from it."""

    function: Text
    before: Text
    after: Text


class CallTrees(Model):
    """Both sides of one operation. ``hunk`` is the change, as a unified diff, that they part in
    or, if none of its functions was running there, the last that ran before; "" if none ran."""

    op: Text
    parting: Parting
    before: CallSide
    after: CallSide
    #: The first call to end, of those that both sides make, that ends differently.
    first_result: CallDifference | None = None
    hunk: Text = ""
    hunk_of: Text = ""
    #: The recording ended before the operation did: it made too many calls.
    cut: bool = False
