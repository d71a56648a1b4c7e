"""``equivcheck run``: check every pair of steps of a series."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

import reports.terminal
from equivalence import gate
from equivalence.campaign import PROFILES, Config
from equivalence.cli import consoles
from equivalence.cli.choose import HOSTING, Chosen, built_in, choose
from equivalence.cli.errors import InputError
from equivalence.cli.files import prepare_folder
from equivalence.cli.options import (
    DEFAULT_OUT,
    PATH,
    Duration,
    cpus,
    hosting_options,
    relation_option,
    series_option,
)
from equivalence.cli.output import DEFAULT, WRITERS, Formats, write_all
from equivalence.cli.planting import scores
from equivalence.cli.progress import progress
from equivalence.store import StoreError
from equivalence.subject import WorldError
from models.schema.trace import TraceError


@click.command()
@series_option
@hosting_options
@click.option(
    "--against",
    type=click.Choice(["previous", "base", "both"]),
    default="both",
    show_default=True,
    help="What each step is compared with.",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="quick",
    show_default=True,
    help="The budget: " + ", ".join(f"{k} {v:,}" for k, v in PROFILES.items()) + " ops a pair.",
)
@click.option("--ops", type=click.IntRange(1), help="The budget of each pair, in operations.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--tasks",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="Operations that run together, switched at lock boundaries.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=cpus,
    show_default="all processors",
    help="Processes; results do not depend on their number.",
)
@click.option(
    "--time-limit",
    type=Duration(),
    metavar="TIME",
    help="End after 60s, 5m or 1h; what was cut short is said, and no verdict rests on it.",
)
@relation_option
@click.option(
    "--expect-change",
    type=click.IntRange(1),
    multiple=True,
    metavar="K",
    help="Patch K may change behaviour; may be given again for another.",
)
@click.option(
    "--trust-trailers",
    is_flag=True,
    help="Believe patches that declare a change of behaviour themselves.",
)
@click.option(
    "--store",
    type=PATH,
    help="Folder of kept traces, replayed first.  [default: OUT/traces]",
)
@click.option(
    "--format",
    "formats",
    type=Formats(),
    default=",".join(DEFAULT),
    show_default=True,
    help=f"Reports to write, of {', '.join(WRITERS)}; result.json is always written.",
)
@click.option(
    "--out",
    type=PATH,
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder for reports and kept traces.",
)
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> int:
    """Check a series: every step against its predecessor and against the base.

    Prints a table of verdicts and writes the reports. The exit status is that of the worst verdict:
    0 nothing disagrees, 1 diverged, 3 the search did not earn a verdict or a patch was not checked,
    4 an error; 2 says that the command line or a file was not right, 130 that the run was
    interrupted.
    """
    out: Path = options["out"]
    chosen = choose(options["series"], **{name: options[name] for name in HOSTING})
    config = _config(ctx, options, chosen)
    prepare_folder(out)
    try:
        with progress(consoles.err()) as tell:
            result = gate.run(config, chosen.subject, chosen.tier, tell)
    except (StoreError, TraceError, WorldError) as error:
        raise InputError(str(error)) from error
    # Printed first: a disk that is full must not take the result with it.
    consoles.show(reports.terminal.render(result))
    for path in write_all(result, options["formats"], out):
        consoles.out().print(f"Written: {path}", soft_wrap=True)
    return result.exit_status


def _config(ctx: click.Context, options: dict[str, Any], chosen: Chosen) -> Config:
    patches = len(chosen.tier.patches)
    for number in options["expect_change"]:
        if number > patches:
            msg = f"--expect-change {number}: the series has {patches} patches"
            raise InputError(msg)
    store = options["store"]
    return Config(
        seed=options["seed"],
        profile=options["profile"] if options["ops"] is None else "none",
        ops=options["ops"] or PROFILES[options["profile"]],
        jobs=options["jobs"],
        time_limit_s=options["time_limit"],
        relation=options["relation"],
        tasks=options["tasks"],
        against=options["against"],
        store=options["out"] / trace_folder(chosen) if store is None else store,
        expected=frozenset(options["expect_change"]),
        # What a built-in series declares is our own word, not the patches'.
        trust_patches=options["trust_trailers"] or options["series"] in built_in(),
        command=command_line(ctx),
        mutate=scores(options, chosen),
        replay=replay_command(chosen, options["relation"]),
        series=chosen.option,
    )


def trace_folder(chosen: Chosen) -> str:
    """The tiers boot different worlds, so each keeps traces of its own."""
    return "traces-native" if chosen.hosting else "traces"


#: Options that say where and how results are written, not what they are.
_NOT_REPEATED = frozenset({"out", "formats"})


def command_line(ctx: click.Context) -> str:
    """The command that repeats this run: every option that was given and changes the result."""
    words = ["equivcheck", str(ctx.info_name)]
    for param in ctx.command.params:
        name = str(param.name)
        if not isinstance(param, click.Option):
            words += ctx.params[name]
            continue
        if name in _NOT_REPEATED:
            continue
        if ctx.get_parameter_source(name) is click.core.ParameterSource.DEFAULT:
            continue
        value = ctx.params[name]
        if param.is_flag:
            words += [param.opts[0]] if value else []
        else:
            for one in value if param.multiple else [value]:
                words += [param.opts[0], f"{one:.12g}s" if isinstance(one, float) else str(one)]
    return shlex.join(words)


def replay_command(chosen: Chosen, relation: str) -> str:
    """The command that replays a kept trace, with ``{trace}`` in place of its path."""
    words = ["equivcheck", "replay", *chosen.hosting]
    if chosen.option:
        words += ["--series", chosen.option]
    if relation != "state":
        words += ["--relation", relation]
    return shlex.join(words).replace("{", "{{").replace("}", "}}") + " {trace}"
