"""``equivcheck record``: what a real kernel does with a trace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from equivalence.cli import consoles
from equivalence.cli.errors import InputError
from equivalence.cli.files import load_trace, save
from equivalence.cli.kernel import KernelError, booted, kernel_option
from equivalence.cli.options import PATH
from equivalence.subjects.hugetlb import recorder
from equivalence.subjects.hugetlb.corpus import read
from equivalence.subjects.hugetlb.live import LENGTH, WORLDS, Drawn
from equivalence.subjects.hugetlb.recording import (
    REFUSED_OP,
    Json,
    RecordingError,
    recorded_args,
    recorded_world,
)
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import NAME, Op, Trace
from reports.text import one_line

#: Keys of a world that the recorder can make, or checks.
_WORLD = frozenset({*WORLDS, "nodes", "node_mb"})


@click.command()
@click.argument("trace_file", required=False, metavar="[TRACE]", type=PATH)
@click.option("--seed", type=click.IntRange(0), help="Record generated operations, of this seed.")
@click.option(
    "--ops",
    type=click.IntRange(1, 10_000),
    default=LENGTH,
    show_default=True,
    help="How many operations to generate.",
)
@click.option("--name", help="The recording's name.  [default: the trace's file name]")
@click.option("--about", default="", help="What the recording shows, in a sentence.")
@click.option("--out", type=PATH, help="The file to write.  [default: NAME.jsonl]")
@click.option(
    "--repeat/--no-repeat",
    default=True,
    show_default=True,
    help="Record it again on a fresh boot and compare.",
)
@kernel_option
def record(
    trace_file: Path | None,
    seed: int | None,
    ops: int,
    name: str | None,
    about: str,
    out: Path | None,
    repeat: bool,
    kernel: Path | None,
) -> int:
    """Record what a real kernel does: Debian's, in QEMU, with two nodes of 512 MB.

    TRACE is a trace file or a recording (.jsonl), whose operations are recorded again; without it,
    operations are generated from --seed. Nothing is installed: what is missing is named with the
    command that installs it (exit status 4). Ctrl-C ends the machine and writes nothing.
    """
    if (trace_file is None) == (seed is None):
        msg = "expected either a TRACE or --seed"
        raise click.UsageError(msg)
    name = name or (f"r{seed:04d}_generated" if trace_file is None else trace_file.stem)
    if not NAME.fullmatch(name) or "/" in name or "," in name:
        msg = f"--name {name!r}: expected letters, digits, '.', '_' and '-'"
        raise InputError(msg)
    trace = None if trace_file is None else _trace(trace_file)
    target = out if out is not None else Path(f"{name}.jsonl")
    with booted(kernel) as live:
        console = consoles.err()
        with console.status("recording"):
            if trace is None:
                assert seed is not None
                lines, refused = _generated(live, name, about, seed, ops)
            else:
                lines, refused = _given(live, name, about, trace)
        if repeat:
            with console.status("recording again on a fresh boot"):
                live.boot()
                again = recorder.replay_trace(live, lines)
            differing = recorder.differences(lines, again)
            if differing:
                msg = f"{name} does not repeat on a fresh boot: {one_line(str(differing[0]))}"
                raise KernelError(msg)
    save(target, recorder.dump(lines))
    for number, op in refused:
        text = f"left out: operation {number} ({one_line(str(op))}) names what is not there"
        console.print(text, soft_wrap=True)
    tail = "clean" if lines[-1]["clean"] else "this kernel's accounting was left wrong"
    consoles.show(f"{len(lines) - 2} operations on {lines[0]['kernel']['release']}; {tail}.")
    consoles.out().print(f"Written: {target}", soft_wrap=True)
    return 0


def _trace(path: Path) -> Trace:
    """The trace to record.

    Raises:
        InputError: it cannot be read, or needs a world that the recorder cannot make.
    """
    if path.suffix == ".jsonl":
        try:
            return read([path])[0].trace()
        except RecordingError as error:
            raise InputError(str(error)) from error
    trace = load_trace(path, HugetlbSubject())
    other = sorted(trace.world.keys() - _WORLD)
    if other:
        msg = f"{path}: world: {other[0]} cannot be recorded, expected {', '.join(sorted(_WORLD))}"
        raise InputError(msg)
    return trace


def _given(
    live: recorder.LiveKernel, name: str, about: str, trace: Trace
) -> tuple[list[Json], list[tuple[int, Op]]]:
    """Record a trace: its lines, and the operations that were refused."""
    about = about or next(iter(trace.comments), "")
    requests = ((op.kind, recorded_args(op)) for op in trace.ops)
    lines = recorder.record_trace(
        live,
        name,
        "scenario",
        about,
        None,
        recorded_world(trace.world),
        requests,
        skip_refused=True,
    )
    done = {line["i"] for line in lines[1:-1]}
    refused = [
        (number, op)
        for number, op in enumerate(trace.ops, start=1)
        if number not in done and op != REFUSED_OP
    ]
    return lines, refused


def _generated(
    live: recorder.LiveKernel, name: str, about: str, seed: int, most: int
) -> tuple[list[Json], list[tuple[int, Op]]]:
    """Record generated operations, each drawn after the answer to the last."""
    drawn = Drawn(seed, 0)
    asked: list[Op] = []

    def requests() -> Iterable[tuple[str, Json]]:
        for _ in range(most):
            if asked:
                # The last one was refused: nobody was told of its answer.
                drawn.saw(asked.pop(), None)
            asked.append(drawn.op())
            yield asked[0].kind, recorded_args(asked[0])

    def watch(line: Json) -> None:
        drawn.saw(asked.pop(), line)

    lines = recorder.record_trace(
        live, name, "random", about, seed, drawn.world, requests(), skip_refused=True, watch=watch
    )
    return lines, []
