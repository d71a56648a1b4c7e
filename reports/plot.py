"""Line charts as SVG, without script and without anything that changes from day to day."""

from __future__ import annotations

import sys
from typing import Any, Final

import pygal  # type: ignore[import-untyped]
from markupsafe import Markup
from pygal.style import Style  # type: ignore[import-untyped]

# pygal leaves an importer of Python 3.3's kind behind, for its maps, and Python warns of it.
sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__ != "pygal"]

Series = list[int | None]

#: With more operations than this, lines have no dots.
MAX_DOTS: Final = 60
#: With more operations than this, not every one has its label.
MAX_LABELS: Final = 12
_STYLE: Final = Style(
    background="transparent",
    plot_background="transparent",
    foreground="var(--text)",
    foreground_strong="var(--text)",
    foreground_subtle="var(--line)",
    colors=("var(--before)", "var(--after)"),
    font_family="inherit",
    guide_stroke_color="var(--line)",
    major_guide_stroke_color="var(--line)",
)


def line_chart(identity: str, title: str, before: Series, after: Series) -> Markup:
    """One counter over the operations, both sides on one axis; the second line is dashed."""
    chart = pygal.Line(
        js=[],
        style=_STYLE,
        width=360,
        height=180,
        margin=6,
        show_legend=False,
        show_dots=len(before) <= MAX_DOTS,
        dots_size=2,
        truncate_label=-1,
        x_labels_major_count=6,
        show_minor_x_labels=len(before) <= MAX_LABELS,
        value_formatter=_whole,
        y_labels_major_count=5,
    )
    chart.uuid = identity
    chart.x_labels = ["boot", *map(str, range(len(before) - 1))]
    values = [v for v in (*before, *after) if v is not None]
    chart.y_labels = _scale(min(values), max(values))
    chart.add("before", before, stroke_style={"width": 2})
    chart.add("after", after, stroke_style={"dasharray": "5,3", "width": 2})
    chart.add_xml_filter(_still)
    svg = chart.render(is_unicode=True, disable_xml_declaration=True)
    label = Markup('<svg role="img" aria-label="{}" ').format(f"{title} over the operations")
    caption = Markup("<figure><figcaption>{}</figcaption>{}</figure>")
    return caption.format(title, Markup(svg.replace("<svg ", label, 1)))


def _scale(low: int, high: int) -> list[int]:
    """At most six whole numbers from the least value to the greatest."""
    step = max(1, -(-(high - low) // 5))
    return [*range(low, high, step), high] if high > low else [low, low + 1]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _still(root: Any) -> Any:
    """Without scripts, and without the comment that names the day."""
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.endswith("script"):
                parent.remove(child)
    return root
