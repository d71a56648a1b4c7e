"""Results to write reports of: what a run of the toy gives, and parts that a run rarely has."""

from functools import cache
from typing import Any

from equivalence import gate
from equivalence.campaign import Config
from models.schema.result import Pair, Result, SearchEvidence, Shrinking, Verdict
from tests.toy import Rule, ToySubject, ToyTier, greedy, plenty, plenty_too

#: Text that must come out as text, whatever reads the report.
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}{% raw %}"
    "\x1b[31mred\x1b]0;title\x07\r\n::error::planted\u202eevil]]><!-- -->"
)


@cache
def toy_result(*rules: Rule, ops: int = 2000) -> Result:
    """The result of checking the toy with these rules; times and versions are fixed."""
    chosen = rules or (plenty, plenty_too, greedy)
    result = gate.run(Config(ops=ops), ToySubject(), ToyTier(*chosen))
    limits = result.limits.model_copy(update={"versions": {"equivcheck": "0", "python": "3"}})
    timing = result.timing.model_copy(update={"seconds": 1.0, "pairs": ()})
    pairs = tuple(_steady(pair, 1000 * number) for number, pair in enumerate(result.pairs, 1))
    return result.model_copy(update={"limits": limits, "timing": timing, "pairs": pairs})


def _steady(pair: Pair, ops: int) -> Pair:
    """The pair with fixed counts: reports are tested here, and not how a search went."""
    searches = (SearchEvidence(name="sampler", ops=ops, traces=20),)
    predicates = tuple(
        predicate.model_copy(
            update={
                "rows": tuple(
                    row.model_copy(update={"before_count": number, "after_count": number})
                    for number, row in enumerate(predicate.rows)
                )
            }
        )
        for predicate in pair.evidence.predicates
    )
    controls = tuple(
        one.model_copy(update={"ops": 500, "traces": 10}) for one in pair.evidence.controls
    )
    update = {
        "searches": searches,
        "outcomes": {},
        "predicates": predicates,
        "controls": controls,
        "missing": (),
    }
    evidence = pair.evidence.model_copy(update=update)
    found = pair.counterexample
    if found is not None:
        shrinking = Shrinking(from_ops=4, to_ops=found.ops, runs=37, complete=True)
        found = found.model_copy(update={"shrinking": shrinking})
    counts = {"ops": ops, "traces": 20, "states": 30}
    return pair.model_copy(update={**counts, "evidence": evidence, "counterexample": found})


def altered(result: Result, change: Any) -> Result:
    """The result with every string replaced by ``change(string)``, where a string is free."""
    return Result.model_validate(_walk(result.model_dump(by_alias=True), change, ()))


#: Fields whose words mean something, so that a validated result has none but known ones.
_FIXED = frozenset({"schema", "verdict", "rung", "against"})


def _walk(value: Any, change: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _walk(inner, change, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(inner, change, path) for inner in value]
    if isinstance(value, str) and path[-1] not in _FIXED:
        return change(value)
    return value


@cache
def every_verdict() -> Result:
    """A pair for each verdict there is, with a reason, a waiver and a note."""
    whole = toy_result()
    agreed, diverged = whole.pairs[-3], whole.pairs[-1]
    pairs = []
    for number, verdict in enumerate(Verdict):
        with_example = verdict in (Verdict.DIVERGED, Verdict.CHANGED_AS_DECLARED)
        like = diverged if with_example else agreed
        missing = ("goal 'refused' was not reached",) if verdict is Verdict.INADEQUATE else ()
        evidence = like.evidence.model_copy(update={"missing": missing})
        change = {
            "patch": f"{number}/9",
            "verdict": verdict,
            "evidence": evidence,
            "reason": "hunk 2 is not hosted" if verdict is Verdict.NOT_CHECKED else "",
        }
        pairs.append(like.model_copy(update=change))
    return whole.model_copy(
        update={"pairs": tuple(pairs), "waivers": ("2/9 may change",), "notes": ("store full",)}
    )


def hostile_result() -> Result:
    """A divergence whose every text tries to be more than text."""
    return altered(toy_result(), lambda text: text + HOSTILE)
