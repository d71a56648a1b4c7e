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

from models.schema.result import EXIT_STATUS, Counterexample, Pair, Result
from reports.pictures import Pictures, counter_charts, pictures
from reports.states import Moment, moments
from reports.text import (
    clean,
    limits_text,
    one_line,
    outcome_line,
    pair_name,
    rung_text,
    status_text,
    trace_lines,
    value_text,
)

#: The last operations of a trace that can be stepped through, and the moments that are plotted.
MAX_STEPS: Final = 150
MAX_PLOTTED: Final = 400
#: Fields, lines of a trace, points of code and defects that are listed.
MAX_FIELDS: Final = 60
MAX_LINES: Final = 400
MAX_POINTS: Final = 100
MAX_DEFECTS: Final = 100
MAX_PAIRS: Final = 200


@dataclass(frozen=True, slots=True)
class Panel:
    """One operation as it is stepped to: its moment, and its pictures."""

    moment: Moment
    pictures: Pictures
    first_difference: bool


@dataclass(frozen=True, slots=True)
class Divergence:
    """A pair that diverged, ready to be shown."""

    key: str
    pair: Pair
    found: Counterexample
    panels: tuple[Panel, ...]
    skipped: int
    charts: tuple[Markup, ...]
    more_charts: int


def write(result: Result) -> str:
    """The page of a result."""
    divergences = [
        divergence(f"d{number}", pair, pair.counterexample)
        for number, pair in enumerate(result.pairs)
        if pair.counterexample is not None
    ]
    script = _asset("page.js")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return _template().render(
        result=result,
        divergences=divergences,
        style=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=Markup(digest),
        limits=limits_text(result),
    )


def divergence(key: str, pair: Pair, found: Counterexample) -> Divergence:
    """Everything that is shown of one divergence; the last operations, if there are many."""
    every = list(moments(found))
    first = next((i for i, moment in enumerate(every) if _differs(moment)), len(every) - 1)
    shown = range(max(0, len(every) - MAX_STEPS), len(every))
    panels = tuple(
        Panel(every[i], pictures(every[i - 1] if i else None, every[i]), i == first) for i in shown
    )
    charts, more = counter_charts(every[-MAX_PLOTTED:], f"{key}-chart")
    skipped = shown.start if shown.start else 0
    return Divergence(key, pair, found, panels, skipped, tuple(charts), more)


def _differs(moment: Moment) -> bool:
    step = moment.step
    if step is None:
        return moment.before != moment.after
    return step.before != step.after or any(change.differs for change in step.changed)


def _asset(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


def _bits(values: Sequence[int | str]) -> str:
    return " ".join(str(value) for value in values)


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
        bits=_bits,
        clean=clean,
        line=one_line,
        outcome=outcome_line,
        pair_name=pair_name,
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
    )
    return environment.get_template("report.html.j2")
