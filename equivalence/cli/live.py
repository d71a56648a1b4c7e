"""``equivcheck calibrate --live``: generator, real kernel and a step in lockstep."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from rich.text import Text

from equivalence.backends.port import PortSystem
from equivalence.cli import consoles
from equivalence.cli.files import prepare_folder, save
from equivalence.cli.kernel import booted
from equivalence.series import Step
from equivalence.subjects.hugetlb.calibration import Calibration, PortReplayer
from equivalence.subjects.hugetlb.live import Found, Live, LiveCalibration
from equivalence.subjects.hugetlb.recording import dump
from models.schema.trace import format_line
from reports.text import one_line, value_text


def calibrate_live(
    system: PortSystem, step: Step, ops: int, seed: int, kernel: Path | None, out: Path
) -> Calibration:
    """Run until so many operations agreed or one differs, which is saved as a recording.

    Raises:
        KernelError: the kernel cannot be asked.
        InputError: ``out`` cannot be written.
    """
    made = not out.exists()
    prepare_folder(out)
    try:
        return _calibrated(system, step, ops, seed, kernel, out)
    finally:
        if made:
            with suppress(OSError):
                out.rmdir()  # nothing was written


def _calibrated(
    system: PortSystem, step: Step, ops: int, seed: int, kernel: Path | None, out: Path
) -> Calibration:
    console = consoles.err()
    with booted(kernel) as machine, console.status("") as status:

        def watch(live: Live) -> None:
            status.update(f"{live.operations} of {ops} operations, {live.compared.traces} traces")

        live = LiveCalibration(machine, PortReplayer(system), watch).run(ops, seed)
        release = machine.version["release"]
    said = f"{live.operations:,} operations in {live.compared.traces} traces on {release}"
    fields = sum(live.compared.fields.values())
    console.print(f"{said}, {fields:,} fields compared (seed {seed})", soft_wrap=True)
    for what, count in live.ended.items():
        console.print(f"ended {count} traces, not compared: {one_line(what)}", soft_wrap=True)
    if live.found is not None:
        _tell(live.found, step, out)
    return live.compared


def _tell(found: Found, step: Step, out: Path) -> None:
    path = out / f"{found.recording.name}.jsonl"
    save(path, dump(found.recording))
    first = found.first
    command = ["equivcheck", "replay", str(path), "--series", step.series]
    lines = [
        f"differs at operation {first.number} ({one_line(first.op)}): {one_line(first.field)}: "
        f"kernel {value_text(first.recorded)}, step {step.number} {value_text(first.computed)}",
        f"minimal trace of {len(found.trace.ops)} operations ({found.runs} tried):",
        f"  {format_line('world', found.trace.world)}",
        *(f"  {op}" for op in found.trace.ops),
        f"  replay: {shlex.join([*command, '--step', str(step.number)])}",
    ]
    consoles.show(Text("\n".join(lines), no_wrap=True, overflow="ignore"))
