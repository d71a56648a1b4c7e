"""From ``--tier native --tree DIR`` and ``--series`` or ``--range`` to a subject and a tier."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from equivalence.backends.native.errors import NativeError
from equivalence.backends.native.series import (
    MAX_BYTES,
    PatchSeries,
    base_of,
    check_base,
    read_series,
    series_from_range,
)
from equivalence.backends.native.tier import NativeTier
from equivalence.backends.native.tree import open_tree
from equivalence.cli import consoles
from equivalence.cli.errors import InputError
from equivalence.subjects.hugetlb.hosted import HostedSubject


def choose_native(
    series: str | None, tree: Path | None, commits: str | None, *, allow_build_files: bool
) -> tuple[HostedSubject, NativeTier, tuple[str, ...]]:
    """Subject and tier with all steps built, and the options that choose them again.

    Raises:
        InputError: options that do not fit, or a tree, series or machine that cannot be used.
    """
    if tree is None:
        msg = "--tier native needs the kernel's sources: --tree DIR"
        raise click.UsageError(msg)
    if (series is None) == (commits is None):
        msg = "--tier native needs either --series MBOX|DIR|- or --range A..B"
        raise click.UsageError(msg)
    words = ["--tier", "native", "--tree", str(tree)]
    words += ["--series", series] if series is not None else ["--range", str(commits)]
    words += ["--allow-build-files"] if allow_build_files else []
    try:
        found, base = open_tree(tree), ""
        if series is not None:
            patches = _read(series)
            base = check_base(found, patches)
        else:
            assert commits is not None
            patches = series_from_range(found.root, commits)
            found, base = base_of(found, commits)
        tier = NativeTier(found, patches, allow_build_files=allow_build_files, base=base)
        with consoles.err().status("Building every step of the series"):
            obstacle = tier.obstacle(0)
    except NativeError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        msg = f"{error.filename or tree}: {error.strerror}; nothing was checked"
        raise InputError(msg) from error
    if obstacle is not None:
        tier.close()
        msg = f"{tree}: this tree cannot be hosted: {obstacle}"
        raise InputError(msg)
    return HostedSubject(), tier, tuple(words)


def _read(series: str) -> PatchSeries:
    if series == "-":
        return read_series("-", sys.stdin.buffer.read(MAX_BYTES + 1))
    return read_series(Path(series))
