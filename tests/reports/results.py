"""Results to write reports of: what a run of the toy gives, and parts that a run rarely has."""

from functools import cache
from typing import Any

from equivalence import gate
from equivalence.campaign import Config
from models.schema.calls import CallDifference, CallRow, CallSide, CallTrees, SourceText
from models.schema.result import (
    DrawnLine,
    FunctionCoverage,
    MissedPoint,
    MutantEvidence,
    Pair,
    Result,
    SearchEvidence,
    Shrinking,
    SideCoverage,
    Verdict,
)
from tests.toy import Rule, ToySubject, ToyTier, greedy, plenty, plenty_too

#: Text that must come out as text, whatever reads the report.
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}{% raw %}"
    "\x1b[31mred\x1b]0;title\x07\r\n::error::planted\u202eevil]]><!-- -->"
    "\nok 1 planted\nreboot: System halted\nTested-by: E <e@vil>\n-- \n> quoted"
)


def _call(depth: int, function: str, text: str = "", result: str = "", **more: Any) -> CallRow:
    return CallRow(kind="call", depth=depth, function=function, text=text, result=result, **more)


def _branch(depth: int, function: str, text: str, result: str, **more: Any) -> CallRow:
    return CallRow(kind="branch", depth=depth, function=function, text=text, result=result, **more)


_ALIKE = (
    _call(0, "do_take", "n=3", "-1"),
    *(_call(1, name, "", "0") for name in ("lock", "look_up", "unlock")),
)
#: How both sides of a toy's operation might have called.
CALLS = CallTrees(
    op="take who=A n=3",
    parting="branch",
    before=CallSide(
        rows=(
            *_ALIKE,
            _call(1, "plenty", "n=3", "0", changed=True),
            _branch(2, "plenty", "free >= n", "false", changed=True, first_difference=True),
            _call(1, "refuse"),
        ),
        earlier=2,
        stack=("do_take", "plenty"),
        said="finds free >= n false",
        source=SourceText(
            function="plenty",
            file="toy.py",
            first_line=7,
            lines=("def plenty(n):", "    if free >= n:", "        return True"),
            marked=8,
            changed=(8,),
        ),
    ),
    after=CallSide(
        rows=(
            _ALIKE[0].model_copy(update={"result": "0"}),
            *_ALIKE[1:],
            _call(1, "plenty", "n=3", "1", changed=True),
            _branch(2, "plenty", "free >= n", "true", changed=True, first_difference=True),
        ),
        later=1,
        stack=("do_take", "plenty"),
        said="finds free >= n true",
    ),
    first_result=CallDifference(function="plenty", before="(n=3) → 0", after="(n=3) → 1"),
    hunk="--- toy.py\n+++ toy.py\n@@ -7,3 +7,3 @@ plenty()\n-    if free >= n:\n+    if True:",
    hunk_of="plenty",
)
#: Coverage of what it changed.
COVERAGE = FunctionCoverage(
    function="plenty",
    role="changed",
    before=SideCoverage(
        reached=3, total=4, missed=(MissedPoint(point="8:7 true", required=True, reason="toy"),)
    ),
    after=SideCoverage(reached=2, total=2),
    drawn=(
        DrawnLine(sign=" ", text="def plenty(n):", before=7, after=7),
        DrawnLine(
            sign="-", text="    if free >= n:", before=8, before_ran="some", missed="never true"
        ),
        DrawnLine(sign="+", text="    if True:", after=8, after_ran="all"),
        DrawnLine(sign="@", text="..."),
        DrawnLine(sign="-", text="    return 1", before=19, before_ran="none"),
    ),
    drawn_more=3,
)

MUTANTS = MutantEvidence(
    killed=30,
    survived=1,
    explained=2,
    not_tried=4,
    survivors=("plenty: >= becomes >",),
    functions=("plenty",),
    searches={"sampler": 30},
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
        more = {"calls": CALLS, "reproducers": {"take.c": "int main(void) { return 0; }\n"}}
        found = found.model_copy(update={"shrinking": shrinking, **more})
        evidence = evidence.model_copy(
            update={"coverage": (*evidence.coverage, COVERAGE), "mutants": MUTANTS}
        )
    counts = {"ops": ops, "traces": 20, "states": 30}
    return pair.model_copy(update={**counts, "evidence": evidence, "counterexample": found})


def altered(result: Result, change: Any) -> Result:
    """The result with every string replaced by ``change(string)``, where a string is free."""
    return Result.model_validate(_walk(result.model_dump(by_alias=True), change, ()))


#: Fields whose words mean something, so that a validated result has none but known ones.
_FIXED = frozenset(
    {"schema", "verdict", "rung", "against", "kind", "parting", "sign", "before_ran", "after_ran"}
)
#: Fields that map free names to something: there the names are changed too.
_MAPPINGS = frozenset({"initial", "outcomes", "reproducers", "tier", "versions"})


def _walk(value: Any, change: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        free = bool(_MAPPINGS.intersection(path)) or path[-2:] == ("mutants", "searches")
        return {
            change(key) if free else key: _walk(inner, change, (*path, key))
            for key, inner in value.items()
        }
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


def hostile_alone() -> Result:
    """The same, and no text has anything else: not even a head that would be cut off."""
    return altered(toy_result(), lambda text: HOSTILE)
