"""JUnit XML: a test case for each pair, whatever its verdict.

What ends the run with a status other than 0 is not green here either: a failure, an error, or, for
what was not checked at all, skipped.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

from models.schema.result import EXIT_STATUS, Pair, Result, Verdict
from reports.text import clean, defect_text, limits_text, one_line, pair_name, pair_why, rung_text

#: What XML 1.0 cannot hold even when escaped, control characters aside.
_NO_XML: Final = re.compile("[\ud800-\udfff\ufffe\uffff]")


def write(result: Result) -> str:
    """The text of ``junit.xml``."""
    root = ElementTree.Element("testsuites", name="equivcheck")
    statuses = [_kind(pair) for pair in result.pairs]
    counts = {kind: str(statuses.count(kind)) for kind in ("failure", "error", "skipped")}
    seconds = {(t.before, t.after): t.seconds for t in result.timing.pairs}
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_text(f"{result.series} on tier {result.tier}"),
        tests=str(len(result.pairs)),
        failures=counts["failure"],
        errors=counts["error"],
        skipped=counts["skipped"],
        time=f"{result.timing.seconds:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("command", result.command),
        ("seed", str(result.seed)),
        ("limits", limits_text(result)),
        *(("waiver", waiver) for waiver in result.waivers),
        *(("defect", defect_text(one)) for one in result.defects),
    ):
        ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    for pair in result.pairs:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_text(result.series),
            name=_text(pair_name(pair)),
            time=f"{seconds.get((pair.before, pair.after), 0.0):.3f}",
        )
        _say(case, pair)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + (
        ElementTree.tostring(root, encoding="unicode") + "\n"
    )


def _kind(pair: Pair) -> str:
    if pair.verdict is Verdict.NOT_CHECKED:
        return "skipped"
    status = EXIT_STATUS[pair.verdict]
    return {0: "", 4: "error"}.get(status, "failure")


def _say(case: ElementTree.Element, pair: Pair) -> None:
    kind = _kind(pair)
    if kind:
        message = _text(one_line(pair_why(pair), 500))
        said = ElementTree.SubElement(case, kind, message=message, type=pair.verdict.value)
        if pair.counterexample is not None and kind != "skipped":
            said.text = _text(f"{pair.counterexample.trace}{pair.counterexample.replay or ''}")
    else:
        ElementTree.SubElement(case, "system-out").text = _text(
            f"{pair.verdict.value}: {rung_text(pair)}"
        )


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", clean(text))
