"""Annotations for GitHub Actions, one workflow command a line, for standard output.

Nothing in a result can end a command or begin another: what GitHub decodes is encoded.
"""

from __future__ import annotations

import re
from typing import Final

from models.schema.result import EXIT_STATUS, Pair, Result
from reports.text import one_line, pair_name, pair_why, parting_text, rung_text, trace_lines

#: GitHub shows ten annotations of a kind for each step; more lines would only be cut there.
MAX_TRACE: Final = 30
MAX_PLACES: Final = 20
_LEVELS: Final = {0: "notice", 1: "error", 3: "warning", 4: "error"}
_PLACE: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_./-]*\.[ch]):([0-9]{1,7})")


def write(result: Result) -> str:
    """The lines to print."""
    lines = []
    for pair in result.pairs:
        if pair.against == "self" and EXIT_STATUS[pair.verdict] == 0:
            continue
        level = _LEVELS[EXIT_STATUS[pair.verdict]]
        lines.append(command(level, _title(pair), _message(pair), **_parting(pair)))
        lines += _not_run(pair)
        for hunk in pair.evidence.hunks[:MAX_PLACES]:
            title = f"{hunk.fate}: {one_line(hunk.where, 100)}"
            reason = one_line(hunk.reason, 500)
            lines.append(command("notice", title, reason, **_place(hunk.where)))
    lines += [
        command("warning", f"defect: {one_line(one.invariant, 100)}", one_line(one.detail, 500))
        for one in result.defects
    ]
    lines += [command("warning", "waiver", one_line(waiver, 500)) for waiver in result.waivers]
    return "".join(f"{line}\n" for line in lines)


def _parting(pair: Pair) -> dict[str, str]:
    """The line of the patched file where the code of the two sides parts."""
    found = pair.counterexample
    source = found.calls.after.source if found is not None and found.calls is not None else None
    if source is None or source.marked is None:
        return {}
    return _place(f"{source.file}:{source.marked}")


def _not_run(pair: Pair) -> list[str]:
    """Changed lines of C that did not run after the patch, those next to each other as one."""
    lines = []
    for one in pair.evidence.coverage:
        missed = one.after.missed if one.after is not None else ()
        owed = [point for point in missed if point.required]
        places = [(place, point) for point in owed if (place := _place(point.point))]
        last = None
        for place, point in places[:MAX_PLACES]:
            here = place["file"], int(place["line"])
            if last is None or here != (last[0], last[1] + 1):
                why = one_line(point.reason, 500) if point.reason else "no search ran this line"
                title = f"did not run: {one_line(one.function, 100)}()"
                lines.append(command("notice", title, why, **place))
            last = here
    return lines


def _place(text: str) -> dict[str, str]:
    """``mm/hugetlb.c:12`` as the properties of an annotation; {} if it is no line of C."""
    place = _PLACE.search(text)
    return {"file": place[1], "line": place[2]} if place is not None else {}


def command(level: str, title: str, message: str, **place: str) -> str:
    """One workflow command."""
    properties = {**place, "title": title}
    said = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{level} {said}::{_data(message)}"


def _title(pair: Pair) -> str:
    return f"{pair.verdict.value}: {one_line(pair_name(pair), 120)}"


def _message(pair: Pair) -> str:
    found = pair.counterexample
    lines = [one_line(pair_why(pair), 1000) or rung_text(pair)]
    if found is not None:
        parted = parting_text(found)
        lines += [parted] if parted else []
        lines += [f"  {line}" for line in trace_lines(found.trace)[:MAX_TRACE]]
        lines += [f"replay: {one_line(found.replay, 1000)}"] if found.replay else []
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
