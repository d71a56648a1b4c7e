"""Coverage drawn on a change: the lines of a function before and after, and which of them ran."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from equivalence.adequacy import Search
from equivalence.calls import FunctionText, ShowsSource
from models.schema.result import DrawnLine, Evidence, FunctionCoverage, Ran, SideCoverage

#: Lines that do not change, around those that do; lines of one function.
CONTEXT: Final = 3
MAX_LINES: Final = 240

#: ``152`` and ``152:11 true`` of the ports, ``mm/hugetlb.c:12`` and ``mm/hugetlb.c:12 to 34`` of
#: the C, where an outcome is named by the line that it leads to.
_POINT: Final = re.compile(r"(?:\S*[^\d\s:]\S*:)?(\d+)(?::(\d+) (true|false)| (to .+))?")


@dataclass(frozen=True, slots=True)
class Version:
    """One side's function, or None, with all its points and those that were reached."""

    text: FunctionText | None
    points: frozenset[str]
    reached: frozenset[str]

    @property
    def lines(self) -> tuple[str, ...]:
        """The source."""
        return self.text.lines if self.text is not None else ()

    @property
    def first(self) -> int:
        """The number of the first line."""
        return self.text.first_line if self.text is not None else 0


def draw_all(tier: object, steps: tuple[int, int], evidence: Evidence, search: Search) -> Evidence:
    """The evidence with every changed function drawn, if the tier shows its source."""
    if not isinstance(tier, ShowsSource):
        return evidence
    shown = tier

    def one(found: FunctionCoverage) -> FunctionCoverage:
        texts = [shown.function_text(step, found.function) for step in steps]
        told = found.model_copy(
            update={
                "before": _with_text(found.before, texts[0]),
                "after": _with_text(found.after, texts[1]),
            }
        )
        if found.role == "caller":
            return told
        sides = search.findings.before, search.findings.after
        lines, more = draw(
            *(
                Version(
                    text,
                    (points or {}).get(found.function, frozenset()),
                    side.covered.get(found.function, frozenset()),
                )
                for text, points, side in zip(texts, search.coverable, sides, strict=True)
            )
        )
        return told.model_copy(update={"drawn": lines, "drawn_more": more})

    return evidence.model_copy(update={"coverage": tuple(map(one, evidence.coverage))})


def draw(one: Version, other: Version) -> tuple[tuple[DrawnLine, ...], int]:
    """The difference of two versions with what ran, and how many lines of it are left out."""
    before, after = _Marks(one), _Marks(other)
    matcher = SequenceMatcher(a=one.lines, b=other.lines, autojunk=False)
    drawn: list[DrawnLine] = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        if drawn:
            drawn.append(DrawnLine(sign="@", text="..."))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                drawn += [_both(before, after, i, j) for i, j in zip(range(i1, i2), range(j1, j2),
                                                                      strict=True)]  # fmt: skip
                continue
            drawn += [before.line("-", i) for i in range(i1, i2)]
            drawn += [after.line("+", j) for j in range(j1, j2)]
    return tuple(drawn[:MAX_LINES]), max(0, len(drawn) - MAX_LINES)


def _both(before: _Marks, after: _Marks, i: int, j: int) -> DrawnLine:
    one, other = before.line("-", i), after.line("+", j)
    said = [f"{text} {side}" for text, side in ((one.missed, "before"), (other.missed, "after"))
            if text]  # fmt: skip
    return DrawnLine(
        sign=" ",
        text=one.text,
        before=one.before,
        after=other.after,
        before_ran=one.before_ran,
        after_ran=other.after_ran,
        missed=one.missed if one.missed == other.missed else "; ".join(said),
    )


def _with_text(side: SideCoverage | None, text: FunctionText | None) -> SideCoverage | None:
    """What did not run, each point with the source line that it is on."""
    if side is None or text is None:
        return side
    lines = dict(enumerate(text.lines, text.first_line))
    missed = []
    for one in side.missed:
        match = _POINT.fullmatch(one.point)
        line = lines.get(int(match[1]), "") if match is not None else ""
        missed.append(one.model_copy(update={"text": line.strip()}))
    return side.model_copy(update={"missed": tuple(missed)})


class _Marks:
    """What ran of one version, by line."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._points = _by_line(version.points)
        self._reached = _by_line(version.reached & version.points)

    def line(self, sign: str, index: int) -> DrawnLine:
        """A line that only this version has."""
        number = self._version.first + index
        ran = self._ran(number)
        mine = {"before": number, "before_ran": ran}
        if sign == "+":
            mine = {"after": number, "after_ran": ran}
        return DrawnLine.model_validate(
            {
                "sign": sign,
                "text": self._version.lines[index],
                "missed": self._missed(number) if ran in ("all", "some") else "",
                **mine,
            }
        )

    def _ran(self, number: int) -> Ran | None:
        points, reached = self._points.get(number), self._reached.get(number, set())
        if not points:
            return None
        if not reached:
            return "none"
        return "all" if len(reached) == len(points) else "some"

    def _missed(self, number: int) -> str:
        """Outcomes of the line's conditions that were not seen."""
        points = self._points.get(number, set())
        owed = points - self._reached.get(number, set())
        conditions = sorted({column for column, _ in points if column >= 0})
        several = len(conditions) > 1
        return ", ".join(
            f"condition {conditions.index(column) + 1} never {outcome}"
            if several
            else f"never {outcome}"
            for column, outcome in sorted(owed)
            if column >= 0
        )


def _by_line(points: Iterable[str]) -> Mapping[int, set[tuple[int, str]]]:
    """Line -> its points: the column and outcome of a condition, (-1, "") for the line itself.

    In the C conditions of one line are told apart by where they lead: their column is 0.
    """
    found: dict[int, set[tuple[int, str]]] = defaultdict(set)
    for point in points:
        match = _POINT.fullmatch(point)
        if match is not None:
            column = int(match[2] or 0) if match[3] or match[4] else -1
            found[int(match[1])].add((column, match[3] or match[4] or ""))
    return found
