"""The result as it is printed on a terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.schema.result import (
    EXIT_STATUS,
    Counterexample,
    Defect,
    FieldChange,
    Pair,
    Result,
    TimelineStep,
    Verdict,
)
from reports.compare import Change
from reports.conditions import condition_lines, mutant_lines
from reports.text import (
    defect_text,
    limits_text,
    one_line,
    outcome_line,
    pair_name,
    pair_why,
    parting_text,
    rung_text,
    status_text,
    trace_lines,
    value_text,
)

#: How much of what can be long is printed; the other reports have it all.
MAX_TRACE: Final = 40
MAX_FIELDS: Final = 8
MAX_MISSING: Final = 12
MAX_DEFECTS: Final = 20

_STYLE: Final = {0: "green", 1: "bold red", 3: "yellow", 4: "bold magenta"}


def render(result: Result) -> RenderableType:
    """Everything that is printed of a result."""
    return Group(*_parts(result))


def _parts(result: Result) -> Iterator[RenderableType]:
    count = len(result.patches)
    patches = f"{count} patch" + ("es" if count != 1 else "")
    what = f"{one_line(result.series)} on tier {one_line(result.tier)}: {patches}"
    yield Text(
        f"{what}, relation {one_line(result.limits.relation)}, seed {result.seed}", style="bold"
    )
    for waiver in result.waivers:
        yield Text(f"Waiver: {one_line(waiver)}", style="yellow")
    yield pairs_table(result.pairs)
    for group in _groups(result.pairs):
        yield from _detail(group)
    for line in (*condition_lines(result.pairs), *mutant_lines(result.pairs)):
        yield Text(line)
    yield from _defects(result.defects)
    yield from _not_compared(result)
    for note in result.notes:
        yield Text(f"Note: {one_line(note, 500)}", style="yellow")
    yield Text(f"Limits: {limits_text(result)}")
    yield Text()
    yield Text(status_text(result), style=_STYLE.get(result.exit_status, "bold"))


def pairs_table(pairs: tuple[Pair, ...]) -> RenderableType:
    """One row a pair."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("patch", overflow="fold", max_width=16)
    table.add_column("against", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("ops", justify="right", no_wrap=True)
    table.add_column("states", justify="right", no_wrap=True)
    table.add_column("rung", overflow="fold")
    for pair in pairs:
        style = _STYLE[EXIT_STATUS[pair.verdict]]
        table.add_row(
            one_line(pair.patch, 60),
            "itself" if pair.against == "self" else pair.against,
            Text(pair.verdict.value, style=style),
            f"{pair.ops:,}",
            f"{pair.states:,}",
            rung_text(pair),
        )
    return Group(Text(), table, Text())


def _groups(pairs: tuple[Pair, ...]) -> list[list[Pair]]:
    """Pairs about which the same is to be said, in the order of the first of them."""
    groups: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        found = pair.counterexample
        # Comments in a trace name the pair; what is run is the rest.
        trace = tuple(trace_lines(found.trace)) if found is not None else ()
        key = (pair.verdict, trace, found is None and pair_why(pair))
        if found is not None or pair_why(pair):
            groups.setdefault(key, []).append(pair)
    return list(groups.values())


def _detail(group: list[Pair]) -> Iterator[RenderableType]:
    """What rows cannot say: why, and how to see it oneself."""
    for pair in group:
        style = _STYLE[EXIT_STATUS[pair.verdict]]
        yield Text(f"{pair.verdict.value}: {pair_name(pair)}", style=style)
    pair = group[0]
    if pair.counterexample is not None:
        yield from counterexample(pair.counterexample)
    elif pair.verdict is Verdict.INADEQUATE and pair.evidence.missing:
        missing = pair.evidence.missing
        yield _wrapped([f"- missing: {one_line(text, 400)}" for text in missing[:MAX_MISSING]])
        yield from _more(len(missing) - MAX_MISSING, "things are missing")
    else:
        why, _, replay = pair_why(pair).partition("; replay it with: ")
        yield _wrapped([one_line(why, 600)])
        if replay:
            yield _indented([f"replay: {one_line(replay, 1000)}"])


def counterexample(found: Counterexample) -> Iterator[RenderableType]:
    """Where two sides part, the minimal trace, and the command that replays it."""
    where = "at boot" if found.op_index < 0 else f"after op {found.op_index} ({one_line(found.op)})"
    lines = [f"{where}:"]
    changes = found.differences or (
        FieldChange(
            field=found.field, before=found.before_value, after=found.after_value, differs=True
        ),
    )
    lines += field_lines(changes)
    parted = parting_text(found)
    if parted:
        yield _indented(lines)
        yield _wrapped([parted])
        lines = []
    if found.shrinking is not None:
        how = f"shrunk from {found.shrinking.from_ops} ops in {found.shrinking.runs} runs"
        how += "" if found.shrinking.complete else ", not to the end"
        lines.append(f"minimal trace, {found.ops} ops ({how}):")
    else:
        lines.append(f"trace, {found.ops} ops:")
    yield _indented(lines)
    trace = trace_lines(found.trace)
    yield _indented(trace[:MAX_TRACE], 4)
    yield from _more(len(trace) - MAX_TRACE, "lines; the reproducer has all")
    if found.replay is not None:
        yield _indented([f"replay: {one_line(found.replay, 1000)}"])
    yield Text()


def changes(found: tuple[Change, ...]) -> RenderableType:
    """What changed between two results, worse things first."""
    if not found:
        return Text("Nothing changed.")
    styles = {"worse": "bold red", "better": "green", "other": ""}
    lines: list[RenderableType] = []
    for change in found:
        sense = "" if change.sense == "other" else f" ({change.sense})"
        lines.append(Text(f"{change.what}{sense}", style=styles[change.sense]))
        lines.append(_wrapped([f"old: {change.old}", f"new: {change.new}"]))
    return Group(*lines)


def field_lines(changes: tuple[FieldChange, ...]) -> list[str]:
    """Fields with both values, one a line."""
    lines = [
        f"  {one_line(c.field)}: {value_text(c.before)} before, {value_text(c.after)} after"
        for c in changes[:MAX_FIELDS]
    ]
    more = len(changes) - MAX_FIELDS
    return [*lines, f"  and {more} more fields"] if more > 0 else lines


def timeline(steps: tuple[TimelineStep, ...]) -> RenderableType:
    """A table of a trace: each operation, both outcomes, and the fields it changed.

    A field that is the same on both sides is shown once.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("op", justify="right", no_wrap=True)
    table.add_column("operation", overflow="fold", ratio=2)
    table.add_column("outcome, then what changed", overflow="fold", ratio=3)
    for step in steps:
        differs = step.before != step.after or any(c.differs for c in step.changed)
        table.add_row(
            str(step.index),
            one_line(step.op, 400),
            "\n".join(_step_lines(step)),
            style="bold red" if differs else None,
        )
    return Group(Text(), table, Text())


def _step_lines(step: TimelineStep) -> Iterator[str]:
    one, other = outcome_line(step.before), outcome_line(step.after)
    yield one if step.before == step.after else f"{one} before, {other} after"
    shown = sorted(step.changed, key=lambda change: not change.differs)[:MAX_FIELDS]
    for change in shown:
        before, after = value_text(change.before, 60), value_text(change.after, 60)
        if change.differs:
            yield f"! {one_line(change.field)}: {before} before, {after} after"
        else:
            yield f"  {one_line(change.field)}: {before}"
    hidden = step.more + len(step.changed) - len(shown)
    if hidden:
        yield f"  and {hidden} more fields"


def _defects(defects: tuple[Defect, ...]) -> Iterator[RenderableType]:
    if not defects:
        return
    yield Text(
        f"Defects: {len(defects)} (broken on a side alone, so they are no divergences)",
        style="bold",
    )
    for found in defects[:MAX_DEFECTS]:
        steps = ", ".join(map(str, found.steps))
        lines = [
            defect_text(found),
            f"  steps {steps}; minimal trace of {found.ops} ops",
        ]
        if found.replay is not None:
            lines.append(f"  replay: {one_line(found.replay, 1000)}")
        yield _indented(lines)
    yield from _more(len(defects) - MAX_DEFECTS, "defects")
    yield Text()


def _not_compared(result: Result) -> Iterator[RenderableType]:
    if result.not_compared:
        sections: dict[str, list[str]] = {}
        for item in result.not_compared[:60]:
            sections.setdefault(one_line(item.section), []).append(one_line(item.field))
        words = [
            name if fields == ["*"] else f"{name} ({', '.join(fields)})"
            for name, fields in sections.items()
        ]
        yield Text("Not compared: " + "; ".join(words) + ". The report has the reasons.")


def _more(count: int, what: str) -> Iterator[RenderableType]:
    if count > 0:
        yield _indented([f"... and {count} more {what}"], 4)


def _indented(lines: list[str], by: int = 2) -> RenderableType:
    """Lines that stay whole, so that they can be copied."""
    text = "\n".join(f"{' ' * by}{line}" for line in lines)
    return Text(text, no_wrap=True, overflow="ignore")


def _wrapped(lines: list[str]) -> RenderableType:
    """Sentences, each wrapped where the terminal ends."""
    return Padding(Text("\n".join(lines)), (0, 0, 0, 2))
