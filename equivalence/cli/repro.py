"""``equivcheck repro``: from a trace to a C program for a real kernel, a test, and the trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from equivalence.cli import consoles
from equivalence.cli.choose import Chosen, choose
from equivalence.cli.errors import InputError
from equivalence.cli.files import load_trace, prepare_folder, save
from equivalence.cli.options import PATH, hosting_options, relation_option, series_option
from equivalence.cli.pairs import pairs_of, run_pairs, steps_option, worker_for
from equivalence.driver import FaultError
from equivalence.gate import told_of
from equivalence.subject import Relation
from equivalence.subjects.hugetlb.repro.files import reproduce
from models.schema.divergence import Divergence
from models.schema.trace import Trace, format_trace

DEFAULT_OUT: Final = Path("equivcheck-repro")
HUGETLB: Final = "hugetlb"


@click.command()
@click.argument("trace_file", metavar="TRACE", type=PATH)
@series_option
@hosting_options
@relation_option
@steps_option
@click.option(
    "--out", type=PATH, default=DEFAULT_OUT, show_default=True, help="Folder for the three files."
)
def repro(
    trace_file: Path,
    series: str,
    relation: Relation,
    steps: tuple[int, int] | None,
    out: Path,
    **hosting: Any,
) -> int:
    """Write reproducers of a trace: a C program, a Python test, and the trace.

    The program does the same operations on a real kernel, as root on an idle machine, and says for
    each whether result and counters are those announced for the code before or after. What user
    space cannot do is left out, and named. The test replays the trace on the ports. Both speak of
    the first pair of steps that differs, or else of the base and the last step.
    """
    chosen = choose(series, **hosting)
    if chosen.subject.name != HUGETLB:
        msg = f"repro: series {series} is of subject {chosen.subject.name!r}, expected {HUGETLB!r}"
        raise InputError(msg)
    trace = load_trace(trace_file, chosen.subject)
    pair, found = _pair(chosen, relation, steps, trace)
    worker = worker_for(chosen, relation)
    made = reproduce(
        trace,
        (worker.system(pair[0], 0), worker.system(pair[1], 1)),
        told_of(chosen.tier, chosen.option, *pair, found),
        trace_file.stem,
    )
    prepare_folder(out)
    for file, text in {**made.files(), f"{made.name}.trace": format_trace(trace)}.items():
        save(out / file, text)
        consoles.out().print(f"Written: {out / file}", soft_wrap=True)
    if found is None:
        consoles.out().print("No pair differs on this trace; both sides announce the same.")
    for number, op, reason in made.program.left_out:
        consoles.out().print(f"Left out: op {number} ({op}): {reason}.", soft_wrap=True)
    return 0


class _Pair(NamedTuple):
    steps: tuple[int, int]
    found: Divergence | None


def _pair(chosen: Chosen, relation: Relation, steps: tuple[int, int] | None, trace: Trace) -> _Pair:
    worker = worker_for(chosen, relation)
    for run in run_pairs(worker, pairs_of(chosen, steps), trace):
        if run.found is not None and not isinstance(run.found, FaultError):
            return _Pair((run.before, run.after), run.found)
    return _Pair(steps or (0, len(chosen.tier.patches)), None)
