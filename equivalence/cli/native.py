"""From ``--tier native --tree DIR`` and ``--series`` or ``--range`` to a subject and a tier."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from equivalence.backends.native.build import SANITIZERS, build
from equivalence.backends.native.encode import lacks
from equivalence.backends.native.errors import MachineError, NativeError
from equivalence.backends.native.hosting import check_boot
from equivalence.backends.native.mails import PatchSeries
from equivalence.backends.native.replayer import NativeReplayer
from equivalence.backends.native.series import (
    MAX_BYTES,
    base_of,
    check_base,
    read_series,
    series_from_range,
)
from equivalence.backends.native.system import NativeSystem
from equivalence.backends.native.tier import HANG_SECONDS, NativeTier
from equivalence.backends.native.tree import open_tree
from equivalence.backends.port import PortSystem
from equivalence.cli import consoles
from equivalence.cli.errors import InputError, MachineStop
from equivalence.subjects.hugetlb.calibration import Calibration
from equivalence.subjects.hugetlb.calibration import calibrate as replay_all
from equivalence.subjects.hugetlb.hosted import HostedSubject
from equivalence.subjects.hugetlb.recording import Recording
from equivalence.subjects.hugetlb.sides import (
    SECTIONS,
    Compared,
    NativeSide,
    PortSide,
    SidesSubject,
    SideSystem,
    compare_sides,
)
from models.schema.divergence import plain
from models.schema.trace import format_trace
from reports.text import one_line, value_text


def choose_native(
    series: str | None,
    tree: Path | None,
    commits: str | None,
    *,
    allow_build_files: bool,
    unreachable: tuple[str, ...] = (),
    sanitize: str = "",
    alone: bool = False,
) -> tuple[HostedSubject, NativeTier, tuple[str, ...]]:
    """Subject and tier with all steps built, and the options that choose them again.

    Without a series there is the tree ``alone``, if that will do.

    Raises:
        InputError: options that do not fit, or a tree or series that cannot be used.
        MachineStop: a program, space or a right is missing.
    """
    if tree is None:
        msg = "--tier native needs the kernel's sources: --tree DIR"
        raise click.UsageError(msg)
    if alone and series is None and commits is None:
        patches = PatchSeries("the tree alone", ())
    elif (series is None) == (commits is None):
        msg = "--tier native needs either --series MBOX|DIR|- or --range A..B"
        raise click.UsageError(msg)
    words = ["--tier", "native", "--tree", str(tree)]
    words += ["--series", series] if series is not None else []
    words += ["--range", commits] if commits is not None else []
    words += ["--allow-build-files"] if allow_build_files else []
    words += [word for one in unreachable for word in ("--unreachable", one)]
    reasons = dict(map(_reason, unreachable))
    checks = frozenset(filter(None, sanitize.split(",")))
    if not checks <= SANITIZERS.keys():
        msg = f"--sanitize {sanitize}: expected {' or '.join(SANITIZERS)}, or both with a comma"
        raise click.UsageError(msg)
    words += ["--sanitize", sanitize] if checks else []
    with told():
        found, base = open_tree(tree), ""
        if series is not None:
            patches = _read(series)
            base = check_base(found, patches)
        elif commits is not None:
            patches = series_from_range(found.root, commits)
            found, base = base_of(found, commits)
        tier = NativeTier(
            found,
            patches,
            allow_build_files=allow_build_files,
            base=base,
            reasons=reasons,
            sanitize=checks,
        )
        with consoles.err().status("Building every step of the series"):
            obstacle = tier.obstacle(0)
    if obstacle is not None:
        tier.close()
        msg = f"{tree}: this tree cannot be hosted: {obstacle}"
        raise InputError(msg)
    return HostedSubject(), tier, tuple(words)


@contextmanager
def told() -> Iterator[None]:
    """Tells the user what stops the tier.

    Raises:
        InputError: the tree or the series cannot be used.
        MachineStop: a program, space or a right is missing.
    """
    try:
        yield
    except MachineError as error:
        raise MachineStop(str(error)) from error
    except NativeError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        place = error.filename or "the cache (XDG_CACHE_HOME) or the temporary folder (TMPDIR)"
        msg = f"{place}: {error.strerror}; nothing was checked"
        raise MachineStop(msg) from error


def _reason(text: str) -> tuple[str, str]:
    point, _, reason = text.partition("=")
    if not point.strip() or not reason.strip():
        msg = f"--unreachable {text!r}: expected POINT=REASON, such as 'mm/hugetlb.c:12 to 14=why'"
        raise click.UsageError(msg)
    return point.strip(), reason.strip()


def _read(series: str) -> PatchSeries:
    if series == "-":
        return read_series("-", sys.stdin.buffer.read(MAX_BYTES + 1))
    return read_series(Path(series))


def native_system(tree: Path) -> NativeSystem:
    """The C of a tree, built, as a system.

    Raises:
        InputError: the tree cannot be used.
        MachineStop: a program, space or a right is missing.
    """
    with told(), consoles.err().status("Building the tree's huge page code"):
        image = build(open_tree(tree))
        check_boot(image)
        return NativeSystem(image, seconds=HANG_SECONDS)


def recordings_on(tree: Path, recordings: Sequence[Recording]) -> Calibration:
    """Replay recordings of a real kernel on the C of a tree, but for those it lacks operations of.

    Raises:
        InputError: the tree cannot be used.
        MachineStop: a program, space or a right is missing.
    """
    lacking = {
        recording.name: str(op)
        for recording in recordings
        for op in recording.trace().ops
        if lacks(op)
    }
    able = [recording for recording in recordings if recording.name not in lacking]
    system = native_system(tree)
    try:
        found = replay_all(able, NativeReplayer(system))
    finally:
        system.close()
    found.left_out |= lacking
    return found


def against_native(system: PortSystem, tree: Path, operations: int, seed: int) -> Compared:
    """Run drawn traces on a port and on the C of a tree.

    Raises:
        InputError: the tree cannot be used.
        MachineStop: a program, space or a right is missing.
    """
    native = native_system(tree)
    try:
        with consoles.err().status("") as status:
            return compare_sides(
                SideSystem(PortSide(system)),
                SideSystem(NativeSide(native)),
                operations,
                seed,
                lambda done: status.update(f"{done:,} of {operations:,} operations"),
            )
    finally:
        native.close()


def said_of(found: Compared) -> Text:
    """What a comparison of port and C came to, in words."""
    lines = [f"{found.operations:,} operations in {found.traces:,} traces on the port and the C"]
    lines[0] += f"; compared: {', '.join(SECTIONS)}"
    if found.fault:
        lines.append(f"a fault of equivcheck: {one_line(found.fault)}")
    elif found.divergence is not None:
        first = found.divergence.first
        lines.append(
            f"{one_line(first.field)}: port {value_text(plain(first.before))}, "
            f"C {value_text(plain(first.after))}"
        )
    else:
        lines.append("no disagreement")
    if found.trace is not None:
        lines += ["minimal trace:", format_trace(found.trace).rstrip()]
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def json_of(found: Compared) -> dict[str, Any]:
    """``equivcheck/calibration/1``, with the C in the place of a recording."""
    differences = found.divergence.differences if found.divergence is not None else ()
    index = found.divergence.op_index if found.divergence is not None else -1
    return {
        "schema": "equivcheck/calibration/1",
        "traces": found.traces,
        "operations": found.operations,
        "fields": list(SECTIONS),
        "disagreements": [
            {
                "trace": format_trace(found.trace) if found.trace is not None else "",
                "op": index,
                "field": one.field,
                "recorded": plain(one.after),
                "computed": plain(one.before),
            }
            for one in differences
        ],
        "not_compared": [asdict(one) for one in SidesSubject.excluded],
    }
