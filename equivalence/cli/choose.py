"""From ``--series`` and ``--tier`` to the subject and the tier that the engine is given.

A series is one of the built-in ones, by name, or one of the user's own: an object in a module, as
``MODULE:OBJECT``, or a Python file that defines either ``SERIES`` (an
:class:`equivalence.series.Series` on HugeTLB) or ``SUBJECT`` and ``TIER``. Such a file is code and
is executed: it comes from the command line only, never from a trace, a result or a patch.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from equivalence.backends.port_tier import PortTier
from equivalence.cli.errors import InputError
from equivalence.series import LinkError, Series
from equivalence.subject import Subject, Tier

#: What every verdict on the ports is bounded by.
PORT_LIMITS: Final = {
    "code": "Python ports of mm/hugetlb.c and what it needs, not the C itself",
    "architecture": "64-bit longs, 4 KiB base pages, huge pages of 2 MiB and 1 GiB (x86-64)",
    "configuration": "SMP, NUMA, hugetlb cgroup on; a page allocator of our own",
}
#: Options that choose the tier and, for the native one, its tree and series.
HOSTING: Final = ("tier", "tree", "commits", "allow_build_files", "unreachable", "sanitize")
DEFAULT_SERIES: Final = "vma-dependence"
_OBJECT: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is checked; ``option`` is how the command line names it again ("" if by default).

    ``hosting`` are the options that choose a tier other than ``port``, the series among them.
    """

    subject: Subject
    tier: Tier
    option: str
    hosting: tuple[str, ...] = ()


def built_in() -> Mapping[str, Callable[[], Series]]:
    """The built-in series by name; loading one links nothing yet."""
    from equivalence.subjects.hugetlb.series import BUILT_IN

    return BUILT_IN


def choose(
    name: str,
    *,
    tier: str = "port",
    tree: Path | None = None,
    commits: str | None = None,
    allow_build_files: bool = False,
    unreachable: tuple[str, ...] = (),
    sanitize: str = "",
    alone: bool = False,
) -> Chosen:
    """The subject and tier of a series: linked on the ports, or built from a kernel tree, which may
    be all that there is (``alone``).

    Raises:
        InputError: there is no such series, or it does not link; no such tree, or it cannot be
            built.
    """
    if tier == "native":
        from equivalence.cli.native import choose_native

        given = None if name == DEFAULT_SERIES else name
        subject, hosted, words = choose_native(
            given,
            tree,
            commits,
            allow_build_files=allow_build_files,
            unreachable=unreachable,
            sanitize=sanitize,
            alone=alone,
        )
        return Chosen(subject, hosted, "", words)
    if tree is not None or commits is not None or allow_build_files or unreachable or sanitize:
        msg = (
            "--tree, --range, --allow-build-files, --unreachable and --sanitize are for"
            " --tier native"
        )
        raise click.UsageError(msg)
    option = "" if name == DEFAULT_SERIES else name
    loader = built_in().get(name)
    if loader is not None:
        return _on_ports(loader, option)
    if _OBJECT.fullmatch(name):
        return _on_ports(lambda: _imported(name), option)
    path = Path(name)
    if path.suffix != ".py":
        known = ", ".join(built_in())
        msg = (
            f"series {name!r}: there is none of that name; expected {known}, a Python file, or"
            " MODULE:OBJECT"
        )
        raise InputError(msg)
    return _from_file(path, option)


def _imported(name: str) -> Series:
    from equivalence.subjects.hugetlb.series import SeriesError, load

    # As for "python -m": the console script leaves the current folder out.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return load(name)
    except SeriesError as error:
        raise InputError(str(error)) from error


def load_series(name: str) -> Series:
    """A series by name or from a file, as symbol tables, linked.

    Raises:
        InputError: there is no such series, it does not link, or it is not made of ports.
    """
    tier = choose(name).tier
    if not isinstance(tier, PortTier):
        msg = f"series {name!r}: it is not made of ports, so there are no functions to show"
        raise InputError(msg)
    return tier.source


def port_tier(series: Series) -> PortTier:
    """The ports of a series of HugeTLB, linked.

    Raises:
        LinkError: a step does not link.
    """
    from equivalence.subjects.hugetlb.series import HugetlbConventions

    series.steps  # noqa: B018 -- links every step, so that a failure is told here
    return PortTier(series, HugetlbConventions(), PORT_LIMITS)


def _on_ports(loader: Callable[[], Series], option: str) -> Chosen:
    from equivalence.subjects.hugetlb.subject import HugetlbSubject

    try:
        tier = port_tier(loader())
    except LinkError as error:
        msg = f"the series does not link: {error}"
        raise InputError(msg) from error
    return Chosen(HugetlbSubject(), tier, option)


def _from_file(path: Path, option: str) -> Chosen:
    if not path.is_file():
        msg = f"series {path}: there is no such file"
        raise InputError(msg)
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        msg = f"series {path}: running it raised {type(error).__name__}: {error}"
        raise InputError(msg) from error
    if "SUBJECT" in found and "TIER" in found:
        return Chosen(found["SUBJECT"], found["TIER"], option)
    series = _series_in(path, found)
    return _on_ports(lambda: series, option)


def _series_in(path: Path, found: Mapping[str, Any]) -> Series:
    series = found.get("SERIES")
    if not isinstance(series, Series):
        got = "nothing" if series is None else f"a {type(series).__name__}"
        msg = f"series {path}: SERIES is {got}, expected an equivalence.series.Series"
        raise InputError(msg)
    return series
