"""The searches of one pair, in rounds of jobs, until the budget is spent or something diverges.

Round 0 replays kept traces and the subject's examples. In every later round the first job is
Hypothesis's and the others are the sampler's, which varies traces that reached new code in the
rounds before, most of all those near code that has not run yet (:mod:`equivalence.steering`). All
jobs of a round are independent and their results are taken in order, so nothing depends on timing
unless the time limit or Ctrl-C ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

from equivalence.events import OnEvent, PairName, Progress
from equivalence.explorer import Bounds, SmallWorld
from equivalence.jobs import Job, Kind, Pool, Stop, derive_seed
from equivalence.search import Findings, Points, Row
from equivalence.steering import Seeds
from equivalence.store import CACHE
from equivalence.subject import Relation
from models.schema.result import MutantEvidence, SearchEvidence
from models.schema.trace import Trace

#: Operations for each pair.
PROFILES: Final[Mapping[str, int]] = {"quick": 40_000, "ci": 400_000, "nightly": 5_000_000}
#: Operations of one job, and jobs of one round.
CHUNK: Final = 1_000
ROUND: Final = 8
#: The control's share of a pair's budget, and its least number of operations.
CONTROL_SHARE: Final = 20
CONTROL_LEAST: Final = 500

AgainstChoice = Literal["previous", "base", "both"]
#: The score of a pair: how many planted bugs the searches catch. It ends early when it is told to.
Mutate = Callable[[PairName, Callable[[], bool]], MutantEvidence]


@dataclass(frozen=True, slots=True)
class Config:
    """What a run was asked to do; ``ops`` is the budget of each pair.

    ``expected`` are patches (from 1) that may change behaviour; ``trust_patches`` believes what
    patches say of themselves. ``replay`` is the command that replays a kept trace, with
    ``{trace}`` in place of its path.
    """

    seed: int = 0
    profile: str = "quick"
    ops: int = PROFILES["quick"]
    jobs: int = 1
    time_limit_s: float | None = None
    relation: Relation = "state"
    against: AgainstChoice = "both"
    store: Path | None = None
    expected: frozenset[int] = frozenset()
    trust_patches: bool = False
    command: str = "equivcheck run"
    replay: str = "equivcheck replay {trace}"
    #: What ``--series`` was given ("": the default).
    series: str = ""
    mutate: Mutate | None = None
    #: How many operations run together in every second job of a round.
    tasks: int = 1
    #: Explore these worlds whole, in place of searches that draw traces.
    worlds: tuple[SmallWorld, ...] = ()
    bounds: Bounds = Bounds()  # noqa: RUF009 -- frozen
    #: Folder where explorations are kept, to be gone on with.
    checkpoints: Path | None = None


class Replays(NamedTuple):
    """Traces that every pair runs first: those of the store, and the subject's examples."""

    kept: tuple[Trace, ...] = ()
    examples: tuple[Trace, ...] = ()


@dataclass(slots=True)
class Found:
    """What a pair's searches came to, before anything is said of it.

    ``cut_short`` says why they ended before the budget was spent ("" if they did not).
    """

    findings: Findings = field(default_factory=Findings)
    searches: dict[str, SearchEvidence] = field(default_factory=dict)
    budget: int = 0
    cut_short: str = ""
    #: Of an exhaustive search: states, and the bound of each world ("": its fixpoint).
    states: int | None = None
    bounds: dict[str, str] = field(default_factory=dict)
    reached: dict[Row, Trace] = field(default_factory=dict)


def search_pair(
    pool: Pool,
    config: Config,
    name: PairName,
    replays: Replays,
    known: frozenset[str],
    deadline: float | None,
    stop: Stop,
    on_event: OnEvent,
) -> Found:
    """Search one pair, ``replays`` first; ``known`` defects are not told."""
    share = max(CONTROL_LEAST, config.ops // CONTROL_SHARE)
    found = Found(budget=share if name.against == "self" else config.ops)
    findings = found.findings
    cache = None if config.store is None else config.store / CACHE
    # The examples that reach something have shown it after round 0, which a control has not.
    first = () if name.against != "self" else replays.examples
    seeds = Seeds([*replays.kept, *first])
    seen: tuple[Points, Points] = ({}, {})
    for number, jobs in enumerate(_rounds(config, name, found.budget, replays)):
        ready = [replace(job, known=known, seen=seen, deadline=deadline) for job in jobs]
        if number > 0:
            every, near = seeds.chosen(findings.before.wanting | findings.after.wanting)
            ready = [replace(job, traces=every, near=near, cache=cache) for job in ready]
        if number == 1 and cache is not None:
            ready[0] = replace(ready[0], remember=True)
        with closing(pool.map(ready)) as parts:
            for job, part in zip(ready, parts, strict=False):
                _take(found, job.kind, part)
                on_event(
                    Progress(
                        name, findings.ops, found.budget, findings.traces, len(findings.states)
                    )
                )
                if findings.over:
                    return found
                if findings.truncated:
                    found.cut_short = "interrupted" if stop else "the time limit was reached"
                    return found
        seeds.add(findings.novel)
        findings.novel.clear()
        seen = findings.before.points(), findings.after.points()
    return found


def deadline_of(config: Config, started: float, left: int) -> float | None:
    """When the next of ``left`` pairs must end: they share the remaining time evenly."""
    if config.time_limit_s is None:
        return None
    now = time.monotonic()
    return now + max(0.0, started + config.time_limit_s - now) / left


def _rounds(config: Config, name: PairName, budget: int, replays: Replays) -> Iterator[list[Job]]:
    control = name.against == "self"
    before, after = name.before, name.after
    kept = [Job("kept", before, after, traces=part) for part in _parts(replays.kept)]
    examples = [Job("examples", before, after, traces=part) for part in _parts(replays.examples)]
    yield [] if control else kept + examples
    spent = number = 0
    while spent < budget:
        jobs: list[Job] = []
        while spent < budget and len(jobs) < ROUND:
            kind: Kind = "control" if control else "sampler" if jobs else "machine"
            if config.tasks > 1 and len(jobs) % 2 and not control:
                kind = "tasks"
            seed = derive_seed(config.seed, before, after, kind, number)
            ops = min(CHUNK, budget - spent)
            jobs.append(Job(kind, before, after, seed, ops, tasks=config.tasks))
            spent += ops
            number += 1
        yield jobs


def _parts(traces: Sequence[Trace]) -> Iterator[tuple[Trace, ...]]:
    """The traces in parts of about a job's number of operations, in order."""
    part: list[Trace] = []
    size = 0
    for trace in traces:
        part.append(trace)
        size += len(trace.ops)
        if size >= CHUNK:
            yield tuple(part)
            part, size = [], 0
    if part:
        yield tuple(part)


def _take(found: Found, kind: str, part: Findings) -> None:
    found.findings.add(part)
    one = found.searches.get(kind, SearchEvidence(name=kind, ops=0, traces=0))
    found.searches[kind] = SearchEvidence(
        name=kind, ops=one.ops + part.ops, traces=one.traces + part.traces
    )
