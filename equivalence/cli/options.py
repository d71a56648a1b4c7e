"""Options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from equivalence.cli.choose import DEFAULT_SERIES, built_in

DEFAULT_OUT: Final = Path("equivcheck-report")
#: The longest time that may be given: ten years.
MAX_SECONDS: Final = 10 * 365 * 24 * 3600
PATH: Final = click.Path(path_type=Path)


def complete_series(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The built-in series, and files."""
    names = [CompletionItem(name) for name in built_in() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


series_option = click.option(
    "--series",
    shell_complete=complete_series,
    metavar="NAME|FILE.py|MBOX|DIR|-",
    default=DEFAULT_SERIES,
    show_default=True,
    help="A built-in series by name, or a Python file that defines one (it is executed). On the"
    " tier native: patches, as an mbox, a folder, or - for standard input.",
)


def hosting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--tier`` with both tiers, and what the tier ``native`` needs to know."""
    for option in (
        click.option(
            "--sanitize",
            default="",
            metavar="CHECKS",
            help="Native: address, undefined, or both with a comma: accesses out of bounds or after"
            " a free, and undefined behaviour, end an operation.",
        ),
        click.option(
            "--unreachable",
            multiple=True,
            metavar="POINT=REASON",
            help="Native: why changed code cannot run; a point as a verdict names it. If it runs"
            " all the same, the pair is inadequate.",
        ),
        click.option(
            "--allow-build-files",
            is_flag=True,
            help="Native: apply hunks to Makefiles, Kconfig and scripts too; they are executed.",
        ),
        click.option(
            "--range",
            "commits",
            metavar="A..B",
            help="Native: the series is these commits of the tree's git repository.",
        ),
        click.option(
            "--tree", type=PATH, metavar="DIR", help="Native: the kernel's sources; only read."
        ),
        click.option(
            "--tier",
            type=click.Choice(["port", "native"]),
            default="port",
            show_default=True,
            help="What runs: the Python ports, or the C of a kernel tree.",
        ),
    ):
        command = option(command)
    return command


relation_option = click.option(
    "--relation",
    type=click.Choice(["user", "state", "effects"]),
    default="state",
    show_default=True,
    help="How much must agree: what user space can read, all state, or also the calls into "
    "the environment.",
)


def cpus() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


class Duration(click.ParamType[float]):
    """A time such as ``90s``, ``5m`` or ``1h``, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?", str(value))
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no duration, expected one such as 60s, 5m or 1h", param, ctx)
        seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[match[2]]
        if seconds > MAX_SECONDS:
            self.fail(f"{value!r} is longer than {MAX_SECONDS // 3600:,} hours", param, ctx)
        return seconds
