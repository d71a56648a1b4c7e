"""Runs one trace on pairs of steps: what ``replay`` and ``shrink`` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from equivalence.cli.choose import Chosen
from equivalence.cli.errors import InputError
from equivalence.driver import FaultError
from equivalence.gate import plan
from equivalence.jobs import Stop, Worker
from equivalence.search import defects_in
from equivalence.subject import Concurrent, Relation, WorldError
from models.schema.divergence import Divergence
from models.schema.trace import Trace

steps_option = click.option(
    "--steps",
    type=click.IntRange(0),
    nargs=2,
    default=None,
    metavar="J K",
    help="Compare step J with step K only (0 is the base).  [default: all pairs of the series]",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one trace did on one pair; None: it ran to its end and nothing differed."""

    before: int
    after: int
    found: Divergence | FaultError | None

    @property
    def name(self) -> str:
        """The pair in a few words."""
        return f"step {self.before} and step {self.after}"


def worker_for(chosen: Chosen, relation: Relation) -> Worker:
    """Makes systems of the series' steps, each once."""
    return Worker(chosen.subject, chosen.tier, relation, Stop())


def pairs_of(chosen: Chosen, steps: Sequence[int] | None) -> list[tuple[int, int]]:
    """The pairs to run: those given, or all that ``run`` checks.

    Raises:
        InputError: the series has no such step, or a step cannot be run.
    """
    patches = chosen.tier.patches
    if steps:
        pairs = [(steps[0], steps[1])]
    else:
        pairs = [(p.before, p.after) for p in plan(patches, "both") if p.against != "self"]
    for step in sorted({step for pair in pairs for step in pair}):
        if step > len(patches):
            msg = f"--steps: step {step} does not exist; the series has steps 0 to {len(patches)}"
            raise InputError(msg)
        obstacle = chosen.tier.obstacle(step)
        if obstacle is not None:
            msg = f"step {step} cannot be run: {obstacle}"
            raise InputError(msg)
    return pairs


def run_pairs(worker: Worker, pairs: Sequence[tuple[int, int]], trace: Trace) -> Iterator[Run]:
    """Run a trace on each pair.

    Raises:
        InputError: the trace's world cannot boot, or the tier cannot run operations together as
            the trace wants.
    """
    for before, after in pairs:
        lockstep = worker.lockstep(before, after)
        if trace.schedule and not isinstance(lockstep.before, Concurrent):
            msg = f"the trace runs operations together, which the tier {worker.tier.name!r} cannot"
            raise InputError(f"{msg}; leave out its schedule to run one after the other")
        try:
            found: Divergence | FaultError | None = lockstep.run(trace)
        except FaultError as error:
            found = error
        except WorldError as error:
            raise InputError(str(error)) from error
        yield Run(before, after, found)


def defects_of(worker: Worker, step: int, trace: Trace) -> dict[str, tuple[int, str]]:
    """What one step breaks alone while it runs a trace: name -> (op, -1 is the boot; detail)."""
    found: dict[str, tuple[int, str]] = {}
    for index, name, detail in defects_in(worker.system(step, 0), trace, worker.subject):
        found.setdefault(name, (index, detail))
    return found
