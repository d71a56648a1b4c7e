"""What changed between two results, of two versions of a series or of the tool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from models.schema.result import EXIT_STATUS, Defect, Pair, Result
from reports.text import defect_text, one_line, pair_name, pair_why, trace_lines

Key = tuple[str, str]

_ORDER: Final = (0, 3, 4, 1)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed: ``better`` or ``worse`` if that can be said, else ``other``."""

    sense: str
    what: str
    old: str
    new: str


def compare(old: Result, new: Result) -> tuple[Change, ...]:
    """All changes, worse ones first; empty if the two results say the same."""
    changes = [*_run(old, new), *_pairs(old, new), *_defects(old, new)]
    order = {"worse": 0, "other": 1, "better": 2}
    return tuple(sorted(changes, key=lambda change: order[change.sense]))


def _run(old: Result, new: Result) -> Iterator[Change]:
    """What makes the two results hard to compare at all."""
    for what, one, other in (
        ("series", old.series, new.series),
        ("tier", old.tier, new.tier),
        ("relation", old.limits.relation, new.limits.relation),
        ("budget of a pair", f"{old.limits.ops:,} ops", f"{new.limits.ops:,} ops"),
        ("exit status", str(old.exit_status), str(new.exit_status)),
        ("patches", str(len(old.patches)), str(len(new.patches))),
        ("waivers", ", ".join(old.waivers) or "none", ", ".join(new.waivers) or "none"),
    ):
        if one != other:
            yield Change("other", what, one_line(one), one_line(other))


def _pairs(old: Result, new: Result) -> Iterator[Change]:
    olds, news = _keyed(old), _keyed(new)
    for key in dict.fromkeys([*news, *olds]):
        one, other = olds.get(key), news.get(key)
        if one is None or other is None:
            there = other or one
            assert there is not None
            sense = "other" if EXIT_STATUS[there.verdict] == 0 or other is None else "worse"
            said = there.verdict.value
            yield Change(
                sense,
                f"pair {pair_name(there)}",
                "not there" if one is None else said,
                "not there" if other is None else said,
            )
        elif one.verdict != other.verdict:
            ranks = [_ORDER.index(EXIT_STATUS[pair.verdict]) for pair in (one, other)]
            sense = {True: "worse", False: "better"}[ranks[1] > ranks[0]]
            sense = "other" if ranks[0] == ranks[1] else sense
            yield Change(sense, pair_name(other), _said(one), _said(other))
        elif _shown(one) != _shown(other):
            yield Change("other", pair_name(other), _said(one), _said(other))


def _keyed(result: Result) -> Mapping[Key, Pair]:
    """Pairs by their patch's title, so that patches may move; by number where titles repeat."""
    titles = [patch.title for patch in result.patches]
    keyed: dict[Key, Pair] = {}
    for pair in result.pairs:
        unique = pair.title and titles.count(pair.title) == 1
        name = pair.title if unique else f"step {pair.after}"
        keyed.setdefault((name, pair.against), pair)
    return keyed


def _said(pair: Pair) -> str:
    why = pair_why(pair)
    return one_line(f"{pair.verdict.value} ({why})" if why else pair.verdict.value, 300)


def _shown(pair: Pair) -> object:
    """What makes two pairs of the same verdict say the same."""
    if pair.counterexample is None:
        return pair_why(pair)
    return pair.counterexample.field, trace_lines(pair.counterexample.trace)


def _defects(old: Result, new: Result) -> Iterator[Change]:
    olds, news = _by_name(old), _by_name(new)
    for name in dict.fromkeys([*news, *olds]):
        one, other = olds.get(name), news.get(name)
        if one is None and other is not None:
            yield Change("worse", f"defect {one_line(name, 120)}", "not found", _steps(other))
        elif other is None and one is not None:
            yield Change("better", f"defect {one_line(name, 120)}", _steps(one), "not found")
        elif one is not None and other is not None and one.steps != other.steps:
            sense = "worse" if set(other.steps) > set(one.steps) else "other"
            yield Change(sense, f"defect {one_line(name, 120)}", _steps(one), _steps(other))


def _by_name(result: Result) -> dict[str, Defect]:
    return {found.invariant: found for found in result.defects}


def _steps(found: Defect) -> str:
    return f"on steps {', '.join(map(str, found.steps))}: {defect_text(found)}"
