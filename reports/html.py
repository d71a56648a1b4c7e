"""One self-contained HTML page: no script, no request, everything in it escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from models.schema.result import EXIT_STATUS, Result
from reports.text import (
    limits_text,
    one_line,
    outcome_line,
    pair_name,
    rung_text,
    status_text,
    trace_lines,
    value_text,
)


def write(result: Result) -> str:
    """The page of a result."""
    return _template().render(result=result)


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
        line=one_line,
        limits=limits_text,
        outcome=outcome_line,
        pair_name=pair_name,
        rung=rung_text,
        status=status_text,
        trace=trace_lines,
        value=value_text,
        severity=EXIT_STATUS.__getitem__,
    )
    return environment.get_template("report.html.j2")
