"""Two call trees side by side: what both sides did in one line, what one did in a line of its own.

What is the same and does not lead to where the sides part is folded, so that the difference is seen
at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from models.schema.calls import CallRow, CallTrees

#: Lines that stay unfolded behind the first difference, and lines shown at all.
MAX_AFTER: Final = 30
MAX_LINES: Final = 600
#: So few lines are not worth folding.
FEW: Final = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line: of both sides, or of one of them."""

    before: CallRow | None
    after: CallRow | None

    @property
    def row(self) -> CallRow:
        """The row of the side that has one."""
        row = self.before or self.after
        assert row is not None
        return row

    @property
    def side(self) -> str:
        """Whose line it is: ``both``, ``before`` or ``after``."""
        if self.before is not None and self.after is not None:
            return "both"
        return "before" if self.before is not None else "after"

    @property
    def first_difference(self) -> bool:
        """Whether the sides part here."""
        return any(row is not None and row.first_difference for row in (self.before, self.after))

    @property
    def results(self) -> tuple[str, ...]:
        """What it came to: one text, or both sides' where they differ."""
        texts = tuple(row.result for row in (self.before, self.after) if row is not None)
        return texts[:1] if len(set(texts)) == 1 else texts


@dataclass(frozen=True, slots=True)
class Part:
    """Lines in a row; ``folded`` ones are shown when asked for."""

    folded: bool
    lines: tuple[Line, ...]

    @property
    def alike(self) -> bool:
        """Whether both sides did all of it."""
        return all(line.side == "both" for line in self.lines)


def parts(trees: CallTrees) -> tuple[Part, ...]:
    """The whole tree, cut into what is shown and what is folded."""
    lines = list(aligned(trees))[:MAX_LINES]
    kept = _kept(lines)
    found: list[tuple[bool, list[Line]]] = []
    for number, line in enumerate(lines):
        folded = number not in kept
        if not found or found[-1][0] != folded:
            found.append((folded, []))
        found[-1][1].append(line)
    return tuple(Part(folded and len(some) > FEW, tuple(some)) for folded, some in found)


def aligned(trees: CallTrees) -> Iterator[Line]:
    """The rows of both sides in one order."""
    one, other = trees.before.rows, trees.after.rows
    keys = [[_key(row) for row in rows] for rows in (one, other)]
    matcher = SequenceMatcher(a=keys[0], b=keys[1], autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            yield from (Line(*pair) for pair in zip(one[i1:i2], other[j1:j2], strict=True))
        else:
            # In turns, so that they can stand side by side.
            for left, right in zip_longest(one[i1:i2], other[j1:j2]):
                if left is not None:
                    yield Line(left, None)
                if right is not None:
                    yield Line(None, right)


def _key(row: CallRow) -> tuple[object, ...]:
    """Two calls are the same whatever they return; conditions that come out otherwise are not."""
    result = row.result if row.kind == "branch" else ""
    return row.kind, row.function, row.text, result, row.first_difference


def _kept(lines: Sequence[Line]) -> set[int]:
    """The lines that are shown: what leads to the first difference, and what follows it."""
    first = next((n for n, line in enumerate(lines) if line.first_difference), None)
    if first is None:
        # Nothing differs but what is computed: the changed functions are of interest.
        kept = {n for n, line in enumerate(lines) if line.row.changed}
        for number in tuple(kept):
            kept.update(_ancestors(lines, number))
        return kept
    above = _ancestors(lines, first)
    depth = lines[first].row.depth
    inner = range(max(above, default=-1) + 1, first)
    kept = {*above, *(number for number in inner if lines[number].row.depth <= depth)}
    last = max(n for n, line in enumerate(lines) if line.first_difference)
    return kept | {*range(first, min(last + 1 + MAX_AFTER, len(lines)))}


def _ancestors(lines: Sequence[Line], number: int) -> list[int]:
    """The calls that were running at a line."""
    found = []
    depth = lines[number].row.depth
    for above in range(number - 1, -1, -1):
        row = lines[above].row
        if row.kind == "call" and row.depth < depth:
            depth = row.depth
            found.append(above)
    return found
