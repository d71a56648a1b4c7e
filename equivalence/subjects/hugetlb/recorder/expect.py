"""Run a C program under the recorder's kernel, and hand back what it printed.

The program is process 1's child: root, in the root cgroup, on CPU 0, with ``/proc``, ``/sys``,
``/dev`` and a cgroup2 tree with the hugetlb controller at ``/cgroup``; the pool is empty when it
starts. Whatever it leaves behind goes with the kernel, which is rebooted before the next use.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from equivalence.subjects.hugetlb.recorder.live import LiveKernel
from equivalence.subjects.hugetlb.recorder.parts import compile_static


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended, and its output (stdout and stderr together, at most 256 KiB)."""

    exit_status: int | None
    signal: int | None
    timed_out: bool
    output: str


def run(kernel: LiveKernel, program: Path, seconds: float = 30.0) -> ProgramResult:
    """Run the static executable `program` in the guest, for at most `seconds`.

    `exit_status` is None for a program that a signal ended (`signal`) or that ran out of time.
    Raises `RecorderError` while a trace is in progress, and what `LiveKernel.boot` raises.
    """
    answer = kernel.run(program.read_bytes(), seconds)
    timed_out = bool(answer["timed_out"])
    return ProgramResult(
        exit_status=answer["exit"] if answer["exit"] >= 0 and not timed_out else None,
        signal=answer["signal"] or None,
        timed_out=timed_out,
        output=answer["output"],
    )


def run_source(kernel: LiveKernel, source: str, seconds: float = 30.0) -> ProgramResult:
    """Compile the C text `source` (static, warnings are errors) and run it in the guest.

    Raises `MissingPartError` if it does not compile, and what `run` raises.
    """
    with tempfile.TemporaryDirectory(prefix="equivcheck-program-") as name:
        folder = Path(name)
        (folder / "program.c").write_text(source)
        compile_static([folder / "program.c"], folder / "program")
        return run(kernel, folder / "program", seconds)
