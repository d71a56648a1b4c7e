"""The result of a run: everything a report may say, and nothing that needs the run again.

``result.json`` is this model as JSON; ``result.schema.json`` beside this file is its JSON schema
(a test keeps the two the same). A run repeated with the same seed, store and number of jobs gives
the same bytes, apart from :class:`Timing`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from models.schema.base import Count, Model, Text
from models.schema.calls import CallTrees

SCHEMA: Final = "equivcheck/result/1"
#: A result is read from files of unknown origin: larger ones are refused before they are parsed.
MAX_RESULT_BYTES: Final = 64 * 1024 * 1024


class ResultError(ValueError):
    """A result that cannot be read: the message names the file, got what, expected what."""


class Verdict(StrEnum):
    """What is said of a pair of steps (DESIGN: words)."""

    IDENTICAL = "identical"
    EXHAUSTED = "exhausted"
    NO_DIVERGENCE = "no-divergence"
    CHANGED_AS_DECLARED = "changed-as-declared"
    DECLARED_BUT_UNSEEN = "declared-but-unseen"
    DIVERGED = "diverged"
    INADEQUATE = "inadequate"
    NOT_CHECKED = "not-checked"
    ERROR = "error"


EXIT_STATUS: Final = {
    Verdict.IDENTICAL: 0,
    Verdict.EXHAUSTED: 0,
    Verdict.NO_DIVERGENCE: 0,
    Verdict.CHANGED_AS_DECLARED: 0,
    Verdict.DECLARED_BUT_UNSEEN: 1,
    Verdict.DIVERGED: 1,
    Verdict.INADEQUATE: 3,
    Verdict.NOT_CHECKED: 3,
    Verdict.ERROR: 4,
}
#: Worst first; 130 (interrupted) and 2 (usage and input) are not verdicts.
WORST_FIRST: Final = (1, 4, 3, 0)
INTERRUPTED: Final = 130

Rung = Literal[
    "identical code",
    "predicates equal on every input",
    "fixpoint in the stated world",
    "no divergence in N ops",
    "nothing",
]
Against = Literal["previous", "base", "self"]


class OutcomeText(Model):
    """What an operation returned on one side."""

    ret: int
    errno: Text | None = None
    signal: Text | None = None
    si_code: int | None = None
    value: int | None = None
    ending: Text = "returned"
    detail: Text = ""
    warnings: tuple[Text, ...] = ()
    place: Text = ""


class FieldChange(Model):
    """One field after an operation, on both sides; ``differs`` if they disagree."""

    field: Text
    before: Any
    after: Any
    differs: bool


class TimelineStep(Model):
    """One operation of a counterexample: outcomes on both sides, and the fields it changed."""

    index: int
    op: Text
    before: OutcomeText
    after: OutcomeText
    changed: tuple[FieldChange, ...] = ()
    #: Fields that changed but are not listed, because there are too many.
    more: Count = 0


class Shrinking(Model):
    """How a trace was made minimal."""

    from_ops: Count
    to_ops: Count
    runs: Count
    complete: bool


class Counterexample(Model):
    """A minimal trace that ends in a divergence.

    ``field`` is the first field that differs in canonical order; ``op_index`` counts from 0, -1 is
    the boot of the world. ``reproducer`` is the saved trace file, None if it could not be saved.
    """

    trace: Text
    op_index: Annotated[int, Field(ge=-1)]
    op: Text
    field: Text
    before_value: Any
    after_value: Any
    ops: Count
    reproducer: Text | None
    replay: Text | None = None
    function: Text | None = None
    differences: tuple[FieldChange, ...] = ()
    initial: dict[str, Any] = Field(default_factory=dict)
    timeline: tuple[TimelineStep, ...] = ()
    #: The calls of the operation that diverges; None where the tier cannot tell them.
    calls: CallTrees | None = None
    shrinking: Shrinking | None = None
    #: Programs and tests that make it happen elsewhere, by file name.
    reproducers: dict[Text, Text] = Field(default_factory=dict)


class Defect(Model):
    """An invariant broken, on each side alone: a finding about the code, not a divergence.

    ``steps`` are the steps of the series on which the trace breaks it.
    """

    invariant: Text
    about: Text
    detail: Text
    steps: tuple[Count, ...]
    trace: Text
    ops: Count
    reproducer: Text | None = None
    replay: Text | None = None
    shrinking: Shrinking | None = None


class Control(Model):
    """The A/A control: a step against itself, and each trace run again on the same system."""

    step: Count
    agreed: bool
    ops: Count
    traces: Count
    detail: Text = ""


class SearchEvidence(Model):
    """One search of a pair and what it spent."""

    name: Text
    ops: Count
    traces: Count


class PredicateRow(Model):
    """One input of a changed predicate, and how often it was evaluated on either side."""

    inputs: tuple[int | Text, ...]
    old: bool
    new: bool
    before_count: Count
    after_count: Count
    unreachable: Text | None = None
    #: A trace that evaluates it with these inputs: a shortest one where worlds were explored; for
    #: inputs that are answered differently, a small one.
    reached_by: Text | None = None


class PredicateEvidence(Model):
    """A changed predicate over all its inputs.

    ``differing`` inputs are answered differently; ``differing_reached`` of them were reached: that
    a predicate differs on some input and that it differs on a reachable state are two findings.
    ``explored`` are the small worlds explored to their fixpoint: an input that was not reached
    cannot be reached there.
    """

    name: Text
    inputs: tuple[Text, ...]
    rows: tuple[PredicateRow, ...]
    equal_everywhere: bool
    differing: Count
    differing_reached: Count
    reached: Count
    explored: tuple[Text, ...] = ()


class MissedPoint(Model):
    """A point of the code that did not run; ``required`` if it is on a changed line.

    ``text`` is the source line that it is on, where the tier shows it.
    """

    point: Text
    required: bool
    reason: Text | None = None
    text: Text = ""


class SideCoverage(Model):
    """How much of one function ran on one side."""

    reached: Count
    total: Count
    missed: tuple[MissedPoint, ...] = ()


#: Whether all points of a line ran, some, or none.
Ran = Literal["all", "some", "none"]


class DrawnLine(Model):
    """A line of a change, by its numbers before and after, and whether it ran on either side.

    ``sign`` is that of a diff, ``@`` where lines are left out; ran is None where no code is.
    ``missed`` names the outcomes of its conditions that were not seen.
    """

    sign: Literal[" ", "-", "+", "@"]
    text: Text
    before: Count | None = None
    after: Count | None = None
    before_ran: Ran | None = None
    after_ran: Ran | None = None
    missed: Text = ""


class FunctionCoverage(Model):
    """Coverage of a function that the pair changes, or that calls one; None: not on that side.

    ``drawn`` is the change to it with what ran, where the tier shows its source; ``drawn_more``
    counts the lines that are left out of that.
    """

    function: Text
    role: Text
    before: SideCoverage | None
    after: SideCoverage | None
    drawn: tuple[DrawnLine, ...] = ()
    drawn_more: Count = 0


class GoalEvidence(Model):
    """Something that a run must have reached before its silence means anything."""

    name: Text
    about: Text
    reached: bool
    required: bool


class MutantEvidence(Model):
    """Planted bugs in the functions that a pair touches: how many the same searches catch.

    ``explained`` ones cannot be told from the original, each with its reason; ``survived`` are all
    others that were not caught. ``not_compiled`` would be no program in C and count nowhere else;
    ``not_tried`` are what was left when the time was over, or beyond the number that was asked for.
    """

    killed: Count
    survived: Count
    explained: Count = 0
    not_compiled: Count = 0
    not_tried: Count = 0
    survivors: tuple[Text, ...] = ()
    functions: tuple[Text, ...] = ()
    #: Search -> how many it killed.
    searches: dict[Text, Count] = Field(default_factory=dict)


class HunkEvidence(Model):
    """A hunk that does not run here, and why."""

    where: Text
    fate: Text
    reason: Text


class Evidence(Model):
    """How hard a pair was tried, and what was missing.

    ``missing`` is empty exactly if the search is adequate.
    """

    searches: tuple[SearchEvidence, ...] = ()
    outcomes: dict[Text, Count] = Field(default_factory=dict)
    predicates: tuple[PredicateEvidence, ...] = ()
    coverage: tuple[FunctionCoverage, ...] = ()
    measured: Text = ""
    goals: tuple[GoalEvidence, ...] = ()
    mutants: MutantEvidence | None = None
    controls: tuple[Control, ...] = ()
    hunks: tuple[HunkEvidence, ...] = ()
    missing: tuple[Text, ...] = ()


class Pair(Model):
    """What is said of two steps of the series, and on what grounds.

    ``states`` counts distinct states. A search that draws traces looks at the last state of each
    only, and stops counting at a bound, so its number is a lower one.
    """

    before: Count
    after: Count
    patch: Text
    title: Text = ""
    against: Against
    verdict: Verdict
    rung: Rung
    reason: Text = ""
    ops: Count
    traces: Count = 0
    states: Count
    evidence: Evidence
    counterexample: Counterexample | None = None


class NotCompared(Model):
    """A part of the state that is not compared, and why."""

    section: Text
    field: Text
    reason: Text


class Limits(Model):
    """What every verdict is bounded by."""

    relation: Text
    profile: Text
    ops: Count
    jobs: Count
    time_limit_s: float | None
    truncated: bool
    interrupted: bool
    tasks: Count = 1
    interleaving: Text = "none: one task, every operation returns before the next begins"
    memory_model: Text = "sequential; no weak memory"
    tier: dict[Text, Text] = Field(default_factory=dict)
    versions: dict[Text, Text] = Field(default_factory=dict)


class PairTiming(Model):
    """Time spent on one pair."""

    before: Count
    after: Count
    seconds: float
    ops_per_second: float


class Timing(Model):
    """The only part of a result that differs between two runs alike."""

    seconds: float = 0.0
    pairs: tuple[PairTiming, ...] = ()


class PatchText(Model):
    """A patch of the series, by number (from 1)."""

    number: Count
    name: Text
    title: Text
    declares_change: bool


class Result(Model):
    """A whole run."""

    schema_: Literal["equivcheck/result/1"] = Field(SCHEMA, alias="schema")
    exit_status: Count
    tier: Text
    series: Text
    patches: tuple[PatchText, ...] = ()
    seed: int
    command: Text
    limits: Limits
    pairs: tuple[Pair, ...]
    defects: tuple[Defect, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()
    #: Declared changes of behaviour that a verdict relied on, and who declared them.
    waivers: tuple[Text, ...] = ()
    #: What went wrong beside the checks: a store that could not be written, for example.
    notes: tuple[Text, ...] = ()
    timing: Timing = Field(default_factory=Timing)

    model_config = ConfigDict(
        frozen=True, extra="allow", validate_by_name=True, serialize_by_alias=True
    )

    def to_json(self) -> str:
        """The text of ``result.json``."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


def exit_status(verdicts: list[Verdict]) -> int:
    """The status that the worst verdict decides: 1 over 4 over 3 over 0."""
    found = {EXIT_STATUS[verdict] for verdict in verdicts}
    return next((status for status in WORST_FIRST if status in found), 0)


def parse_result(text: str, name: str = "result") -> Result:
    """Read ``result.json``.

    Raises:
        ResultError: not a result, one of another version, or larger than the bounds.
    """
    if len(text) > MAX_RESULT_BYTES:
        msg = f"{name}: {len(text)} characters, expected at most {MAX_RESULT_BYTES}"
        raise ResultError(msg)
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        msg = f"{name}: {place}: {first['msg']}; expected a result of schema {SCHEMA!r}"
        raise ResultError(msg) from None


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``result.json``."""
    schema = Result.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}


#: Where the schema is committed.
SCHEMA_FILE: Final = Path(__file__).with_name("result.schema.json")
