"""``equivcheck shrink``: make a trace minimal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from equivalence.cli import consoles
from equivalence.cli.choose import choose
from equivalence.cli.errors import InputError
from equivalence.cli.files import load_trace, save
from equivalence.cli.options import PATH, hosting_options, relation_option, series_option
from equivalence.cli.pairs import Run, defects_of, pairs_of, run_pairs, steps_option, worker_for
from equivalence.driver import FaultError
from equivalence.explain import Minimal, shrink_defect, shrink_divergence, shrink_fault
from equivalence.jobs import Worker, interruptible
from equivalence.subject import Relation
from models.schema.trace import Trace, format_trace


@click.command()
@click.argument("trace_file", metavar="TRACE", type=PATH)
@series_option
@hosting_options
@relation_option
@steps_option
@click.option("--out", type=PATH, help="Write the minimal trace to this file.  [default: stdout]")
def shrink(
    trace_file: Path,
    series: str,
    relation: Relation,
    steps: tuple[int, int] | None,
    out: Path | None,
    **hosting: Any,
) -> int:
    """Make a trace minimal: fewer operations, smaller arguments, a smaller world.

    What it shows stays the same: the divergence of the first pair that differs, or else the first
    defect of a single step. Ctrl-C ends with the smallest trace so far.
    """
    chosen = choose(series, **hosting)
    trace = load_trace(trace_file, chosen.subject)
    worker = worker_for(chosen, relation)
    pairs = pairs_of(chosen, steps)
    with interruptible(worker.stop):
        small, what = _smallest(worker, pairs, trace)
    text = format_trace(replace(small.trace, comments=(what,)))
    if out is None:
        click.echo(text, nl=False)
    else:
        save(out, text)
    done = small.shrinking
    more = "" if done.complete else ", not to the end"
    message = f"{what}: {done.from_ops} ops became {done.to_ops} in {done.runs} runs{more}"
    consoles.err().print(message, soft_wrap=True)
    return 0


def _smallest(worker: Worker, pairs: list[tuple[int, int]], trace: Trace) -> tuple[Minimal, str]:
    """The minimal trace, and what it shows.

    Raises:
        InputError: the trace shows nothing.
    """

    def stop() -> bool:
        return bool(worker.stop)

    for run in run_pairs(worker, pairs, trace):
        lockstep = worker.lockstep(run.before, run.after)
        if isinstance(run.found, FaultError):
            return shrink_fault(lockstep, trace, worker.subject, stop), _said(run)
        if run.found is not None:
            small = shrink_divergence(lockstep, trace, run.found, worker.subject, stop)
            return small, _said(run)
    for step in sorted({step for pair in pairs for step in pair}):
        for name in defects_of(worker, step, trace):
            system = worker.system(step, 0)
            small = shrink_defect(system, trace, name, worker.subject, stop)
            return small, f"step {step} breaks {name!r}"
    msg = "nothing to make smaller: no pair differs on this trace, and no step breaks an invariant"
    raise InputError(msg)


def _said(run: Run) -> str:
    if isinstance(run.found, FaultError):
        return f"{run.name}: {run.found.sort}"
    assert run.found is not None
    return f"{run.name} differ in {run.found.first.field}"
