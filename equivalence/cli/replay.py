"""``equivcheck replay``: run a kept trace again and show what it does, operation by operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

import reports.terminal
from equivalence.cli import consoles
from equivalence.cli.calibrate import step_option
from equivalence.cli.choose import choose
from equivalence.cli.errors import OUR_ERROR, InputError
from equivalence.cli.files import load_trace
from equivalence.cli.options import PATH, hosting_options, relation_option, series_option
from equivalence.cli.pairs import Run, defects_of, pairs_of, run_pairs, steps_option, worker_for
from equivalence.cli.recordings import find_recording, replay_recording
from equivalence.driver import FaultError
from equivalence.explain import differences, timeline
from equivalence.subject import Relation
from equivalence.subjects.hugetlb.series import STABLE
from models.schema.divergence import Divergence
from models.schema.trace import format_line
from reports.text import one_line


@click.command()
@click.argument("trace_file", metavar="TRACE", type=PATH)
@series_option
@hosting_options
@relation_option
@steps_option
@step_option
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    trace_file: Path,
    series: str,
    relation: Relation,
    steps: tuple[int, int] | None,
    step: int | None,
    **hosting: Any,
) -> int:
    """Run a trace again and print what each operation did.

    TRACE is a trace file, which runs on every pair of steps, or a recording of a real kernel (a
    .jsonl file, or the name of one that comes with equivcheck), which runs on one step (--step) of
    the series that was recorded, unless told otherwise.

    The operations are listed with both sides' outcomes and the fields they changed, on the first
    pair that differs, or on the base and the last step. Exits 1 if a pair differs, or the step from
    the recording; 4 if equivcheck itself failed; else 0.
    """
    recording = find_recording(trace_file)
    if recording is not None and steps is None and hosting["tier"] == "port":
        given = ctx.get_parameter_source("series") is not click.core.ParameterSource.DEFAULT
        return replay_recording(recording, series if given else STABLE, step)
    if step is not None:
        msg = "--step is for recordings; expected --steps J K for a trace"
        raise click.UsageError(msg)
    chosen = choose(series, **hosting)
    if recording is not None:
        trace = recording.trace()
        if trace.subject != chosen.subject.name:
            msg = f"{trace_file}: recordings are of subject {trace.subject!r} only"
            raise InputError(msg)
    else:
        trace = load_trace(trace_file, chosen.subject)
    pairs = pairs_of(chosen, steps)
    worker = worker_for(chosen, relation)
    runs = list(run_pairs(worker, pairs, trace))
    shown = next((run for run in runs if run.found is not None), runs[-1])
    if not isinstance(shown.found, FaultError):
        lockstep = worker.lockstep(shown.before, shown.after)
        _, rows = timeline(lockstep.before, lockstep.after, trace)
        consoles.show(_whole(f"{trace_file} on {shown.name}", "bold"))
        consoles.show(_whole(format_line("world", trace.world)))
        consoles.show(reports.terminal.timeline(rows))
        if len(trace.ops) > len(rows):
            consoles.show(f"The table ends after {len(rows)} of {len(trace.ops)} ops.")
    for run in runs:
        consoles.show(_whole(_said(run)))
    for step in sorted({step for pair in pairs for step in pair}):
        for name, (index, detail) in defects_of(worker, step, trace).items():
            place = "at boot" if index < 0 else f"after op {index}"
            text = f"defect on step {step} {place}: {one_line(name)}: {one_line(detail)}"
            consoles.show(_whole(text))
    return _status(runs)


def _whole(text: str, style: str = "") -> Text:
    """Lines that are not wrapped."""
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _said(run: Run) -> str:
    match run.found:
        case None:
            return f"{run.name}: no difference"
        case FaultError():
            return f"{run.name}: error: {one_line(str(run.found), 600)}"
    place = "at boot" if run.found.op_index < 0 else f"after op {run.found.op_index}"
    lines = reports.terminal.field_lines(differences(run.found))
    return "\n".join([f"{run.name}: diverged {place} ({one_line(str(run.found.op))})", *lines])


def _status(runs: list[Run]) -> int:
    if any(isinstance(run.found, Divergence) for run in runs):
        return 1
    return OUR_ERROR if any(run.found is not None for run in runs) else 0
