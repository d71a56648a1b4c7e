"""``equivcheck calibrate``: does a step say what a real kernel said?"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from equivalence.backends.port import PortSystem
from equivalence.cli import consoles
from equivalence.cli.choose import load_series, port_tier
from equivalence.cli.errors import OUR_ERROR, InputError
from equivalence.cli.kernel import kernel_option
from equivalence.cli.live import calibrate_live
from equivalence.cli.options import DEFAULT_OUT, PATH
from equivalence.series import Step
from equivalence.subjects.hugetlb.calibration import (
    Calibration,
    Disagreement,
    PortReplayer,
)
from equivalence.subjects.hugetlb.calibration import (
    calibrate as replay_all,
)
from equivalence.subjects.hugetlb.corpus import corpus, read
from equivalence.subjects.hugetlb.recording import Recording, RecordingError
from equivalence.subjects.hugetlb.series import STABLE
from reports.text import one_line, value_text

#: So many disagreements are printed; JSON has all.
MAX_PRINTED = 10

recorded_series_option = click.option(
    "--series",
    default=STABLE,
    show_default=True,
    metavar="NAME|FILE.py",
    help="The series whose step is replayed on.",
)
step_option = click.option(
    "--step", type=click.IntRange(0), metavar="K", help="The step.  [default: the last]"
)


@click.command()
@click.argument("traces", nargs=-1, type=PATH)
@recorded_series_option
@step_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Compare with a kernel that runs in QEMU, on generated operations.",
)
@click.option(
    "--ops",
    type=click.IntRange(1),
    default=2_000,
    show_default=True,
    help="With --live or --native: how many operations.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="With --live or --native: the seed.",
)
@click.option(
    "--out",
    type=PATH,
    default=DEFAULT_OUT,
    show_default=True,
    help="With --live: the folder for the recording of a difference.",
)
@kernel_option
@click.option(
    "--native",
    is_flag=True,
    help="Compare with the C of a kernel tree: the step on generated operations, or, with TRACES,"
    " the C itself with recordings.",
)
@click.option(
    "--tree", type=PATH, metavar="DIR", help="With --native: the kernel's sources; only read."
)
def calibrate(
    traces: tuple[Path, ...],
    series: str,
    step: int | None,
    form: str,
    live: bool,
    ops: int,
    seed: int,
    out: Path,
    kernel: Path | None,
    native: bool,
    tree: Path | None,
) -> int:
    """Replay recordings of a real kernel and compare every field after every operation.

    TRACES are files (.jsonl), archives (.tar.xz) or folders of recordings; without any, those that
    come with equivcheck. Exits 0 only if everything agrees.

    With --live, operations are generated and run on a real kernel and on the step in lockstep; the
    first difference is made minimal on both, shown, and saved as a recording. What is not installed
    is named with the command that installs it (exit status 4).

    With --native --tree DIR, operations are generated and run on the step and on the C that it was
    ported from; the first difference is made minimal. With TRACES too, the C is compared with them.
    """
    if live and traces:
        msg = "TRACES are given with --live, which generates its own; expected one of them"
        raise click.UsageError(msg)
    if native == (tree is None) or (native and live):
        msg = "--native and --tree DIR go together, and not with --live"
        raise click.UsageError(msg)
    linked = step_of(series, step)
    system = port_tier(load_series(series)).system(linked.number, evidence=False)
    assert isinstance(system, PortSystem)
    if tree is not None and not traces:
        return _against_native(system, tree, ops, seed, form)
    if live:
        found = calibrate_live(system, linked, ops, seed, kernel, out)
    elif tree is not None:
        from equivalence.cli.native import recordings_on

        found = recordings_on(tree, _recordings(traces))
    else:
        found = _replayed(system, traces)
    if form == "json":
        # Numbers above 2^53 are printed whole: they are the kernel's unsigned longs.
        click.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        consoles.show(_table(found))
        consoles.show(_summary(found, f"the C of {tree}" if native else _named(linked)))
        for name, op in found.left_out.items():
            consoles.show(one_line(f"left out: {name}: the tier native lacks {op}"))
        for one in list(found.first().values())[: 0 if live else MAX_PRINTED]:
            consoles.show(_disagreement(one, None if native else linked, series, traces))
        more = len(found.first()) - MAX_PRINTED
        if more > 0 and not live:
            consoles.show(f"... and {more} more recordings disagree (--format json has all)")
    return 0 if found.agrees else 1


def _replayed(system: PortSystem, traces: tuple[Path, ...]) -> Calibration:
    """Replay recordings, those that come with equivcheck by default.

    Raises:
        InputError: one cannot be read.
    """
    recordings = _recordings(traces)
    with consoles.err().status("") as status:

        def watch(recording: Recording, so_far: Calibration) -> None:
            status.update(f"{so_far.traces} of {len(recordings)} recordings")

        return replay_all(recordings, PortReplayer(system), watch)


def _recordings(traces: tuple[Path, ...]) -> Sequence[Recording]:
    try:
        return read(traces) if traces else corpus()
    except RecordingError as error:
        raise InputError(str(error)) from error


def _against_native(system: PortSystem, tree: Path, ops: int, seed: int, form: str) -> int:
    from equivalence.cli.native import against_native, json_of, said_of

    found = against_native(system, tree, ops, seed)
    if form == "json":
        click.echo(json.dumps(json_of(found), indent=1, ensure_ascii=False))
    else:
        consoles.show(said_of(found))
    if found.fault:
        return OUR_ERROR
    return 1 if found.divergence is not None else 0


def step_of(series: str, number: int | None) -> Step:
    """A step of a series, the last one by default.

    Raises:
        InputError: there is no such series or step.
    """
    steps = load_series(series).steps
    if number is None:
        return steps[-1]
    if number >= len(steps):
        msg = f"--step {number}: does not exist; {series} has steps 0 to {len(steps) - 1}"
        raise InputError(msg)
    return steps[number]


def _table(found: Calibration) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    for name in ("profile", "op"):
        table.add_column(name, overflow="fold")
    for name in ("operations", "fields", "disagree"):
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for (profile, op), cell in found.table().items():
        table.add_row(
            one_line(profile) if profile != last else "",
            one_line(op),
            f"{cell.operations:,}",
            f"{cell.fields:,}",
            f"{cell.disagreeing:,}" if cell.disagreeing else "",
            style="bold red" if cell.disagreeing else None,
        )
        last = profile
    return Group(table, Text())


def _named(step: Step) -> str:
    return f"step {step.number} ({step.name}) of {step.series}"


def _summary(found: Calibration, what: str) -> Text:
    operations, fields = sum(found.operations.values()), sum(found.fields.values())
    said = f"{found.agreeing} of {found.traces} recordings agree with {what}"
    said += f": {operations:,} operations, {fields:,} fields compared"
    if found.skipped_operations:
        said += f", {found.skipped_operations:,} operations behind a disagreement not compared"
    return Text(f"{said}.")


def _disagreement(
    one: Disagreement, step: Step | None, series: str, traces: tuple[Path, ...]
) -> RenderableType:
    where = f"{one_line(one.trace)}: {one_line(one.op)}"
    where += f" (operation {one.number})" if one.number else ""
    name = _file_of(one.trace, traces)
    lines = [
        f"disagrees: {where}",
        f"  {one_line(one.field)}: recorded {value_text(one.recorded)}, "
        f"computed {value_text(one.computed)}",
    ]
    if step is not None:
        command = ["equivcheck", "replay", name, "--series", series, "--step", str(step.number)]
        lines.append(f"  replay: {shlex.join(command)}")
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def _file_of(name: str, traces: tuple[Path, ...]) -> str:
    """What names a recording to ``replay``: its file, or its name if it comes with equivcheck."""
    for path in traces:
        if path.suffix == ".jsonl" and path.stem == name:
            return str(path)
        inside = path / f"{name}.jsonl"
        if inside.is_file():
            return str(inside)
    return name
