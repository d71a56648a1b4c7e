"""Functions of the C by their text: which lines are whose."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from equivalence.calls import FunctionText

_DEFINITION: Final = re.compile(r"^[a-zA-Z_][^;{}#]*?\b(\w+)\(", re.MULTILINE)


@lru_cache(maxsize=16)
def function_of(text: str) -> Sequence[str]:
    """For every line (from 1; index 0 unused) the function whose definition holds it, or ''."""
    lines = text.splitlines()
    owner = [""] * (len(lines) + 2)
    start, name = 0, ""
    for number, line in enumerate(lines, start=1):
        if line and not line[0].isspace() and line[0] not in "{}#/*":
            match = _DEFINITION.match(line)
            if match is not None:
                start, name = number, match[1]
            elif not line.endswith((")", ",", ":")):
                start, name = 0, ""
        if line == "}" and name:
            for inside in range(start, number + 1):
                owner[inside] = name
            start, name = 0, ""
    return tuple(owner)


def text_of(function: str, file: str, text: str) -> FunctionText | None:
    """A function's definition in the text of a file; None if it is not there."""
    owners = function_of(text)
    numbers = [number for number, owner in enumerate(owners) if owner == function]
    if not numbers:
        return None
    lines = text.splitlines()[numbers[0] - 1 : numbers[-1]]
    return FunctionText(function, file, numbers[0], tuple(lines))


def hunk_of(function: str, file: str, before: str, after: str) -> str:
    """What differs in a function between two texts of a file, as a unified diff of the file."""
    sides = [before.splitlines(), after.splitlines()]
    owners = [function_of(text) for text in (before, after)]
    matcher = difflib.SequenceMatcher(a=sides[0], b=sides[1], autojunk=False)
    hunks = [
        _hunk(group, sides, function)
        for group in matcher.get_grouped_opcodes(3)
        if any(
            function in owners[side][start + 1 : end + 1]
            for tag, *places in group
            if tag != "equal"
            for side, (start, end) in enumerate((places[:2], places[2:]))
        )
    ]
    return "\n".join([f"--- a/{file}", f"+++ b/{file}", *hunks]) if hunks else ""


def _hunk(
    group: Sequence[tuple[str, int, int, int, int]], sides: Sequence[Sequence[str]], function: str
) -> str:
    one, other = sides
    before = f"{group[0][1] + 1},{group[-1][2] - group[0][1]}"
    after = f"{group[0][3] + 1},{group[-1][4] - group[0][3]}"
    lines = [f"@@ -{before} +{after} @@ {function}()"]
    for tag, i1, i2, j1, j2 in group:
        if tag == "equal":
            lines += [f" {line}" for line in one[i1:i2]]
            continue
        lines += [f"-{line}" for line in one[i1:i2]]
        lines += [f"+{line}" for line in other[j1:j2]]
    return "\n".join(lines)
