"""One self-contained HTML page: no request, everything in it escaped, one small script of ours.

Without the script the page shows every operation one below the other; with it they can be stepped
through. What can be large is bounded, and the page says so.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from models.schema.result import EXIT_STATUS, Counterexample, FieldChange, Pair, Result
from reports.calls import Part, parts
from reports.conditions import reach_text
from reports.evidence import tried
from reports.pictures import Pictures, counter_charts, pictures
from reports.states import Moment, moments
from reports.text import (
    clean,
    headline,
    limits_pairs,
    one_line,
    outcome_line,
    pair_name,
    rung_text,
    status_text,
    trace_lines,
    value_text,
)

#: The last operations of a trace that can be stepped through, those of all divergences together,
#: and the moments that are plotted.
MAX_STEPS: Final = 150
ALL_STEPS: Final = 240
MAX_PLOTTED: Final = 400
#: Fields, lines of a trace, points of code and defects that are listed.
MAX_FIELDS: Final = 60
MAX_LINES: Final = 400
MAX_POINTS: Final = 100
MAX_DEFECTS: Final = 100
MAX_PAIRS: Final = 200
#: Divergences that are shown in full, and operations of their traces that are listed.
MAX_DIVERGENCES: Final = 8
MAX_TRACE: Final = 40
MAX_REPRODUCERS: Final = 6


@dataclass(frozen=True, slots=True)
class Panel:
    """One operation as it is stepped to: its moment, and its pictures."""

    moment: Moment
    pictures: Pictures
    first_difference: bool


@dataclass(frozen=True, slots=True)
class Divergence:
    """A pair that diverged, ready to be shown; ``also`` names the pairs with the same trace."""

    key: str
    pair: Pair
    found: Counterexample
    also: tuple[str, ...]
    differences: tuple[FieldChange, ...]
    world: tuple[str, ...]
    ops: tuple[tuple[int, str], ...]
    left_out: int
    parts: tuple[Part, ...]
    panels: tuple[Panel, ...]
    skipped: int
    charts: tuple[Markup, ...]
    more_charts: int


def write(result: Result) -> str:
    """The page of a result."""
    groups = _same_trace(result.pairs)
    shown = groups[:MAX_DIVERGENCES]
    steps = min(MAX_STEPS, ALL_STEPS // max(1, len(shown)))
    divergences = [
        divergence(f"d{number}", group[0], found, [pair_name(p) for p in group[1:]], steps)
        for number, group in enumerate(shown)
        if (found := group[0].counterexample) is not None
    ]
    script = _asset("page.js")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return _template().render(
        result=result,
        headline=headline(result),
        overall=result.exit_status if result.exit_status in (0, 1, 4) else 3,
        groups=_groups(result.pairs[:MAX_PAIRS]),
        divergences=divergences,
        more_divergences=[group[0] for group in groups[MAX_DIVERGENCES:]],
        tried=[tried(pair) for pair in result.pairs[:MAX_PAIRS] if pair.evidence.coverage],
        style=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=Markup(digest),
        limits=limits_pairs(result),
    )


def _groups(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """The patches first: the controls say something of the tool, not of them."""
    patches = [pair for pair in pairs if pair.against != "self"]
    controls = [pair for pair in pairs if pair.against == "self"]
    named = [("", patches), ("Control: each step against itself must agree", controls)]
    return [(name, group) for name, group in named if group]


def _same_trace(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs that diverge, those together whose minimal trace and change is the same."""
    groups: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        found = pair.counterexample
        if found is not None:
            key = (tuple(trace_lines(found.trace)), found.field, pair.verdict)
            groups.setdefault(key, []).append(pair)
    return list(groups.values())


def divergence(
    key: str, pair: Pair, found: Counterexample, also: Sequence[str], steps: int
) -> Divergence:
    """Everything that is shown of one divergence; the last ``steps`` moments, if there are more."""
    every = list(moments(found))
    first = next((i for i, moment in enumerate(every) if _differs(moment)), len(every) - 1)
    shown = range(max(0, len(every) - steps), len(every))
    panels = tuple(
        Panel(every[i], pictures(every[i - 1] if i else None, every[i]), i == first) for i in shown
    )
    charts, more = counter_charts(every[-MAX_PLOTTED:], f"{key}-chart")
    lines = trace_lines(found.trace)
    world = tuple(line for line in lines[:2] if line.startswith(("world", "schedule")))
    ops = tuple(enumerate(lines[len(world) :]))
    return Divergence(
        key=key,
        pair=pair,
        found=found,
        also=tuple(also),
        differences=found.differences
        or (
            FieldChange(
                field=found.field, before=found.before_value, after=found.after_value, differs=True
            ),
        ),
        world=world,
        ops=ops[-MAX_TRACE:],
        left_out=max(0, len(ops) - MAX_TRACE),
        parts=parts(found.calls) if found.calls is not None else (),
        panels=panels,
        skipped=shown.start,
        charts=tuple(charts),
        more_charts=more,
    )


def _differs(moment: Moment) -> bool:
    step = moment.step
    if step is None:
        return moment.before != moment.after
    return step.before != step.after or any(change.differs for change in step.changed)


def _asset(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clean=clean,
        line=one_line,
        outcome=outcome_line,
        pair_name=pair_name,
        reach=reach_text,
        rung=rung_text,
        status=status_text,
        trace=trace_lines,
        value=value_text,
        severity=EXIT_STATUS.__getitem__,
    )
    environment.globals.update(
        MAX_DEFECTS=MAX_DEFECTS,
        MAX_FIELDS=MAX_FIELDS,
        MAX_LINES=MAX_LINES,
        MAX_PAIRS=MAX_PAIRS,
        MAX_POINTS=MAX_POINTS,
        MAX_REPRODUCERS=MAX_REPRODUCERS,
    )
    return environment.get_template("report.html.j2")
