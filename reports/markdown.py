"""Markdown for the summary of a CI job; nothing in it is taken for markup or for a mention."""

from __future__ import annotations

import re
from typing import Final

from models.schema.result import EXIT_STATUS, Pair, Result
from reports.text import (
    clean,
    defect_text,
    limits_text,
    one_line,
    pair_name,
    pair_why,
    parting_text,
    rung_text,
    status_text,
    value_text,
)

#: A summary may have 1 MiB; the other reports have everything.
MAX_TRACE: Final = 100
MAX_FIELDS: Final = 20
MAX_DEFECTS: Final = 50
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+!|~$>-])")
_ICONS: Final = {0: "✅", 1: "❌", 3: "⚠️", 4: "💥"}


def write(result: Result) -> str:
    """The text of ``summary.md``."""
    lines = [f"## equivcheck: {plain(result.series)} on tier {plain(result.tier)}", ""]
    lines += [f"**{plain(status_text(result))}**", ""]
    lines += [f"> **Waiver:** {plain(waiver)}\n" for waiver in result.waivers]
    lines += ["| patch | against | verdict | ops | states | rung |", "|---|---|---|--:|--:|---|"]
    for pair in result.pairs:
        icon = _ICONS[EXIT_STATUS[pair.verdict]]
        against = "itself" if pair.against == "self" else pair.against
        name = plain(one_line(pair.patch, 60))
        lines.append(
            f"| {name} | {against} | {icon} {pair.verdict.value} | {pair.ops:,} "
            f"| {pair.states:,} | {plain(rung_text(pair))} |"
        )
    lines.append("")
    for pair in result.pairs:
        lines += _detail(pair)
    if result.defects:
        lines += [f"### Defects ({len(result.defects)})", ""]
        lines.append("Broken on a side alone, so they are findings and no divergences.\n")
        for one in result.defects[:MAX_DEFECTS]:
            steps = ", ".join(map(str, one.steps))
            lines.append(f"- {plain(defect_text(one))} (steps {steps})")
        if len(result.defects) > MAX_DEFECTS:
            lines.append(f"- and {len(result.defects) - MAX_DEFECTS} more")
        lines.append("")
    lines += ["<details><summary>Limits, and how to repeat this</summary>", ""]
    lines += [plain(limits_text(result), 3000), "", *fenced(one_line(result.command, 2000))]
    lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _detail(pair: Pair) -> list[str]:
    why = pair_why(pair)
    if not why:
        return []
    lines = [f"### {pair.verdict.value}: {plain(pair_name(pair))}", "", plain(why, 2000), ""]
    found = pair.counterexample
    if found is None:
        return lines
    lines += ["| field | before the patch | after the patch |", "|---|---|---|"]
    for change in found.differences[:MAX_FIELDS]:
        values = f"{plain(value_text(change.before))} | {plain(value_text(change.after))}"
        lines.append(f"| {plain(change.field)} | {values} |")
    if len(found.differences) > MAX_FIELDS:
        lines.append(f"\nAnd {len(found.differences) - MAX_FIELDS} more fields.")
    parted = parting_text(found)
    lines += ["", plain(f"{parted[0].upper()}{parted[1:]}.", 400)] if parted else []
    trace = clean(found.trace).splitlines()
    more = len(trace) - MAX_TRACE
    lines += ["", *fenced("\n".join(trace[:MAX_TRACE]))]
    lines += [f"And {more} more lines."] if more > 0 else []
    if found.replay is not None:
        lines += ["", *fenced(one_line(found.replay, 2000))]
    return [*lines, ""]


def plain(text: str, limit: int = 300) -> str:
    """Text that Markdown shows as it is; mentions and references stay text too."""
    flat = one_line(text, limit)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), ("@", "&#64;"), (":", "&#58;")):
        flat = flat.replace(char, entity)
    return _MARKUP.sub(r"\\\1", flat).replace("&\\#", "&#")


def fenced(text: str) -> list[str]:
    """A block of code, fenced by more backticks than it has in a row."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", clean(text), fence]
