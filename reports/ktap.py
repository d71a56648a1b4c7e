"""KTAP version 1, the kernel's own format for results of tests: a line for each pair."""

from __future__ import annotations

import re
from typing import Final

from models.schema.result import EXIT_STATUS, Pair, Result, Verdict
from reports.text import (
    limits_text,
    one_line,
    pair_name,
    pair_why,
    parting_text,
    rung_text,
    status_text,
    trace_lines,
    value_text,
)

#: What the kernel's parser takes for the end of all output, wherever it stands.
_ENDS: Final = re.compile("List of all partitions|Kernel panic - not syncing|reboot: System halted")
#: Lines of a trace that are given.
MAX_TRACE: Final = 200


def write(result: Result) -> str:
    """The text of ``result.ktap``."""
    lines = ["KTAP version 1", f"1..{len(result.pairs)}"]
    lines += [f"# {one_line(result.series)} on tier {one_line(result.tier)}"]
    lines += [f"# waiver: {one_line(waiver)}" for waiver in result.waivers]
    for number, pair in enumerate(result.pairs, start=1):
        lines += _diagnosis(pair)
        lines.append(_line(number, pair))
    for one in result.defects:
        steps = ", ".join(map(str, one.steps))
        lines.append(
            f"# defect on steps {steps}: {one_line(one.invariant)}: {one_line(one.detail)}"
        )
    lines.append(f"# limits: {one_line(limits_text(result), 2000)}")
    lines.append(f"# {status_text(result)}")
    return "".join(f"{_ENDS.sub(_joined, line)}\n" for line in lines)


def _joined(match: re.Match[str]) -> str:
    return match[0].replace(" ", "_")


def _line(number: int, pair: Pair) -> str:
    # A '#' in a description would begin a directive.
    name = one_line(pair_name(pair)).replace("#", "")
    if pair.verdict is Verdict.NOT_CHECKED:
        return f"ok {number} {name} # SKIP not checked"
    good = EXIT_STATUS[pair.verdict] == 0
    return f"{'ok' if good else 'not ok'} {number} {name}"


def _diagnosis(pair: Pair) -> list[str]:
    said = f"# {pair.verdict.value}, {pair.ops} operations, {pair.states} states"
    lines = [f"{said}, rung: {rung_text(pair) or pair.rung}"]
    why = pair_why(pair)
    if why:
        lines.append(f"# {one_line(why, 2000)}")
    found = pair.counterexample
    if found is not None:
        lines += [
            f"# {one_line(c.field)}: {value_text(c.before)} before, {value_text(c.after)} after"
            for c in found.differences[:20]
        ]
        parted = parting_text(found)
        lines += [f"# {one_line(parted, 400)}"] if parted else []
        trace = trace_lines(found.trace)
        lines += [f"#   {line}" for line in trace[:MAX_TRACE]]
        if len(trace) > MAX_TRACE:
            lines.append(f"#   and {len(trace) - MAX_TRACE} more lines")
        if found.replay is not None:
            lines.append(f"# replay: {one_line(found.replay, 1000)}")
    return lines
