"""Plain text of 72 columns, fit to be sent as a reply to a series.

It says what was done and no more: it never has a tag such as Tested-by, not even one that came in
with a patch's title.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Final

from models.schema.result import Counterexample, Pair, Result
from reports.text import (
    defect_text,
    limits_text,
    one_line,
    pair_name,
    pair_why,
    parting_text,
    rung_text,
    trace_lines,
    value_text,
)

WIDTH: Final = 72
MAX_TRACE: Final = 60
MAX_FIELDS: Final = 12
MAX_DEFECTS: Final = 10
_TAG: Final = re.compile(r"(?i)\b([a-z-]+-by|fixes|closes|cc|link)\s*:")

_SUMMARY: Final = {
    0: "Nothing that was checked disagrees; how hard it was tried is below.",
    1: "At least one patch changes behaviour where none was declared, or does not show the change"
    " that it declares.",
    3: "No difference was found, but for at least one patch the search did not earn a verdict.",
    4: "At least one check failed for reasons that lie with equivcheck or its environment.",
    130: "The run was interrupted; what was found until then follows.",
}


def write(result: Result) -> str:
    """The text of ``mail.txt``."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    count = len(result.patches)
    patches = f"{count} patch{'es' if count != 1 else ''}"
    yield from _wrap(
        f"equivcheck ran the code before and after each patch of {result.series} ({patches}) side"
        f" by side on tier {result.tier}, and compared the two after every operation."
    )
    yield ""
    yield from _wrap(_SUMMARY.get(result.exit_status, f"Exit status {result.exit_status}."))
    yield ""
    for waiver in result.waivers:
        yield from _wrap(f"Waiver: {waiver}")
        yield ""
    yield from _table(result)
    for pair in result.pairs:
        if pair_why(pair):
            yield ""
            yield from _pair(pair)
    if result.defects:
        yield ""
        yield from _wrap("Broken by steps on their own, so no divergence of any patch:")
        for one in result.defects[:MAX_DEFECTS]:
            steps = ", ".join(map(str, one.steps))
            yield from _wrap(f"- {defect_text(one)} (steps {steps})", "  ")
        if len(result.defects) > MAX_DEFECTS:
            yield f"- and {len(result.defects) - MAX_DEFECTS} more"
    yield ""
    yield from _wrap(f"Limits: {limits_text(result)}")
    yield ""
    yield "To repeat this:"
    yield from _command(result.command)


def _table(result: Result) -> Iterator[str]:
    yield f"  {'patch':<14} {'against':<9} {'verdict':<20} {'operations':>12}"
    for pair in result.pairs:
        patch = _safe(one_line(pair.patch, 14))
        against = "itself" if pair.against == "self" else pair.against
        yield f"  {patch:<14} {against:<9} {pair.verdict.value:<20} {pair.ops:>12,}"


def _pair(pair: Pair) -> Iterator[str]:
    yield from _wrap(f"{pair_name(pair)}: {pair.verdict.value}")
    if pair.title:
        yield from _wrap(f'"{pair.title}"', "  ")
    if pair.counterexample is None:
        yield from _wrap(pair_why(pair), "  ")
        reached = rung_text(pair)
        if reached:
            yield from _wrap(f"Rung reached: {reached}.", "  ")
    else:
        yield from _counterexample(pair.counterexample)


def _counterexample(found: Counterexample) -> Iterator[str]:
    trace = trace_lines(found.trace)
    yield ""
    for line in trace[:MAX_TRACE]:
        yield from _wrap(line, "    ", "      ")
    if len(trace) > MAX_TRACE:
        yield f"    ... and {len(trace) - MAX_TRACE} more lines"
    yield ""
    where = "At boot" if found.op_index < 0 else "After the last operation"
    yield from _wrap(f"{where}, before and after the patch:")
    for change in found.differences[:MAX_FIELDS]:
        values = f"{value_text(change.before, 60)} -> {value_text(change.after, 60)}"
        yield from _wrap(f"{change.field}: {values}", "    ", "      ")
    if len(found.differences) > MAX_FIELDS:
        yield f"    ... and {len(found.differences) - MAX_FIELDS} more fields"
    parted = parting_text(found)
    if parted:
        yield ""
        yield from _wrap(f"{parted[0].upper()}{parted[1:]}.")
    if found.replay is not None:
        yield ""
        yield "To see it:"
        yield from _command(found.replay)


def _command(text: str) -> Iterator[str]:
    """A command on as many lines as it needs, still one command for a shell."""
    words = _safe(one_line(text, 2000)).split(" ")
    line = "  $"
    for word in words:
        if len(line) + len(word) + 3 > WIDTH and line.strip() not in ("", "$"):
            yield f"{line} \\"
            line = "     "
        line += f" {word}"
    yield line


def _wrap(text: str, indent: str = "", later: str | None = None) -> list[str]:
    return textwrap.wrap(
        _safe(one_line(text, 3000)),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if later is None else later,
        break_on_hyphens=False,
    )


def _safe(text: str) -> str:
    return _TAG.sub(r"\1 -", text)
