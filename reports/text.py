"""Small texts that several writers need."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from models.schema.result import (
    EXIT_STATUS,
    Counterexample,
    Defect,
    OutcomeText,
    Pair,
    Result,
    Verdict,
)

#: Control characters, and the marks that change the direction of text: a terminal or a reader of
#: mail would obey them, wherever they come from.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text without what a terminal obeys; newlines and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line, at most ``limit`` characters of it."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def value_text(value: Any, limit: int = 120) -> str:
    """A value of a field as people read it: words bare, structures as JSON."""
    if isinstance(value, str) and value:
        return one_line(value, limit)
    if value is None:
        return "none"
    return one_line(json.dumps(value, ensure_ascii=False, default=str), limit)


def outcome_line(outcome: OutcomeText) -> str:
    """What an operation returned, in one line."""
    if outcome.ending != "returned":
        at = f", {outcome.place}" if outcome.place else ""
        words = [outcome.ending, f"({outcome.detail}{at})" if outcome.detail else ""]
    elif outcome.signal is not None:
        code = f" (si_code {outcome.si_code})" if outcome.si_code is not None else ""
        words = [f"{outcome.signal}{code}"]
    elif outcome.errno is not None:
        words = [outcome.errno]
    else:
        words = ["ok" if outcome.ret == 0 else str(outcome.ret)]
        if outcome.value is not None:
            words.append(f"value {outcome.value}")
    words += [f"WARN: {text}" for text in outcome.warnings]
    return one_line(" ".join(word for word in words if word))


def defect_text(found: Defect) -> str:
    """A defect in one line; what the kernel itself calls wrong is its own detail."""
    if found.invariant.endswith(found.detail):
        return one_line(found.invariant, 300)
    return one_line(f"{found.invariant}: {found.detail}", 300)


def pair_name(pair: Pair) -> str:
    """A pair as headings name it."""
    if pair.against == "self":
        return f"step {pair.before} against itself"
    before = "the base" if pair.before == 0 else f"step {pair.before}"
    return f"{one_line(pair.patch, 60)}: step {pair.after} against {before}"


def rung_text(pair: Pair) -> str:
    """The rung reached, with its number where it has one."""
    return pair.rung.replace("N ops", f"{pair.ops:,} ops") if pair.rung != "nothing" else ""


def pair_why(pair: Pair) -> str:
    """Why a pair has its verdict, where the verdict alone does not say it; else ""."""
    found = pair.counterexample
    if found is not None:
        where = "at boot" if found.op_index < 0 else f"after op {found.op_index} ({found.op})"
        values = f"{value_text(found.before_value)} before, {value_text(found.after_value)} after"
        return f"{where}: {found.field} is {values}"
    if pair.verdict is Verdict.INADEQUATE and pair.evidence.missing:
        return "missing: " + "; ".join(pair.evidence.missing)
    if pair.verdict is Verdict.DECLARED_BUT_UNSEEN:
        return f"the declared change was not seen; {rung_text(pair) or pair.rung}"
    return pair.reason


def parting_text(found: Counterexample) -> str:
    """Where the code of the two sides parts, in one sentence; "" if that is not known."""
    calls = found.calls
    if calls is None:
        return f"they part in {found.function}()" if found.function else ""
    if calls.parting == "nowhere":
        where = f", likely in {calls.hunk_of}()" if calls.hunk_of else ""
        return f"same calls and branches on both sides: what differs is computed{where}"
    stack = calls.before.stack or calls.after.stack
    where = f"{stack[-1]}()" if stack else "the operation"
    return one_line(
        f"they part in {where}: {calls.before.said} before, {calls.after.said} after", 400
    )


def trace_lines(trace: str) -> list[str]:
    """A trace as it is shown: without its first line and its comments."""
    lines = clean(trace).splitlines()[1:]
    return [line for line in lines if line and not line.startswith("#")]


def limits_pairs(result: Result) -> list[tuple[str, str]]:
    """What every verdict of the run is bounded by: names and texts."""
    limits = result.limits
    parts = [
        ("tier", result.tier),
        *((key, value) for key, value in limits.tier.items() if key != "coverage"),
        ("relation", limits.relation),
        ("tasks", f"{limits.tasks} (interleaving: {limits.interleaving})"),
        ("memory model", limits.memory_model),
        ("budget", f"{limits.ops:,} operations a pair (profile {limits.profile})"),
    ]
    if limits.truncated and limits.time_limit_s is not None:
        parts.append(("cut short", f"by the time limit of {limits.time_limit_s:g} s"))
    if limits.interrupted:
        parts.append(("interrupted", "pairs that are not listed were not checked"))
    return [(one_line(name, 60), one_line(text, 300)) for name, text in parts]


def limits_text(result: Result) -> str:
    """What every verdict of the run is bounded by, as one sentence."""
    words = {"tier": "tier ", "cut short": "cut short "}
    return (
        "; ".join(words.get(name, f"{name}: ") + text for name, text in limits_pairs(result)) + "."
    )


def headline(result: Result) -> str:
    """The answer in one sentence."""
    pairs = [pair for pair in result.pairs if pair.against != "self"]
    count = len(result.patches)
    patches = f"{count} patch{'es' if count != 1 else ''}"
    bad = [pair for pair in result.pairs if EXIT_STATUS[pair.verdict] == 1]
    if bad:
        names = list(dict.fromkeys(one_line(pair.patch, 40) for pair in bad))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        unseen = all(pair.verdict is Verdict.DECLARED_BUT_UNSEEN for pair in bad)
        does = "not seen to change what the code does" if unseen else "changes what the code does"
        which = "Declared, but " if unseen else ""
        what = "patch" if which else "Patch"
        which += f"{what} " if len(names) == 1 else f"{what}es "
        does = does if len(names) == 1 else does.replace("changes", "change")
        return f"{which}{', '.join(names[:5])}{more} {does} ({len(bad)} of {len(pairs)} pairs)."
    open_ones = [pair for pair in result.pairs if EXIT_STATUS[pair.verdict] != 0]
    if open_ones:
        failed = sum(EXIT_STATUS[pair.verdict] == 4 for pair in open_ones)
        why = f"; {failed} failed" if failed else ""
        return (
            f"No difference was found, but {len(open_ones)} of {len(result.pairs)} pairs have no"
            f" verdict{why}."
        )
    if result.exit_status == 130:
        return "Interrupted: what was checked until then does not disagree."
    ops = sum(pair.ops for pair in result.pairs)
    return f"Nothing that was checked disagrees: {patches}, {len(pairs)} pairs, {ops:,} operations."


def status_text(result: Result) -> str:
    """The exit status, and which verdict decides it."""
    meanings = {
        0: "nothing that was checked disagrees",
        1: "a pair diverged, or a declared change was not seen",
        3: "no verdict was earned for at least one pair",
        4: "an error of equivcheck or of its environment",
        130: "interrupted; what was found until then is saved",
    }
    meaning = meanings.get(result.exit_status, "unknown")
    return f"Exit status {result.exit_status}: {meaning}."
