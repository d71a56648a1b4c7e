"""``equivcheck explore``: every trace of small worlds, to their fixpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

import reports.terminal
from equivalence import gate
from equivalence.campaign import CONTROL_LEAST, Config
from equivalence.cli import consoles
from equivalence.cli.choose import HOSTING, choose
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
from equivalence.cli.progress import progress
from equivalence.cli.run import command_line, replay_command, trace_folder
from equivalence.explorer import MAX_STATES, Bounds, SmallWorld
from equivalence.store import StoreError
from equivalence.subject import WorldError
from models.schema.trace import TraceError

#: Whose operations and worlds the named worlds are made of.
SUBJECT: Final = "hugetlb"


@click.command()
@click.argument("names", nargs=-1, metavar="[WORLD]...")
@series_option
@hosting_options
@relation_option
@click.option(
    "--against",
    type=click.Choice(["previous", "base", "both"]),
    default="previous",
    show_default=True,
    help="What each step is compared with.",
)
@click.option(
    "--depth",
    type=click.IntRange(0),
    help="Longest traces, in operations after the world's first ones.  [default: the world's own]",
)
@click.option(
    "--states",
    type=click.IntRange(1),
    default=MAX_STATES,
    show_default=True,
    help="States of a world that are remembered at most.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=cpus,
    show_default="all processors",
    help="Processes; results do not depend on their number.",
)
@click.option("--time-limit", type=Duration(), metavar="TIME", help="End after 60s, 5m or 1h.")
@click.option(
    "--checkpoints",
    type=PATH,
    help="Folder to keep explorations in; one that was stopped is gone on with.",
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
    "--out", type=PATH, default=DEFAULT_OUT, show_default=True, help="Folder for reports."
)
@click.pass_context
def explore(ctx: click.Context, /, **options: Any) -> int:
    """Explore small worlds whole: every trace of their operations, or those up to a depth.

    WORLD is one of the named worlds ('equivcheck explore list' lists them); all of them by
    default. A pair is 'exhausted' if no state of any of them disagrees and they reached together
    what a search must reach; fewer worlds often do not, and end 'inadequate'.
    """
    from equivalence.subjects.hugetlb.worlds import WORLDS

    if options["names"] == ("list",):
        for small in WORLDS:
            click.echo(f"{small.name:12} {len(small.ops):3} ops  {small.about}")
        return 0
    worlds = _choose(options["names"], WORLDS)
    out: Path = options["out"]
    chosen = choose(options["series"], **{name: options[name] for name in HOSTING})
    if chosen.subject.name != SUBJECT:
        msg = f"the named worlds are of subject {SUBJECT!r}, and the series is of "
        raise InputError(f"{msg}{chosen.subject.name!r}; expected a series of {SUBJECT}")
    prepare_folder(out)
    if options["checkpoints"] is not None:
        prepare_folder(options["checkpoints"], "--checkpoints")
    config = Config(
        profile="none",
        ops=CONTROL_LEAST,
        jobs=options["jobs"],
        time_limit_s=options["time_limit"],
        relation=options["relation"],
        against=options["against"],
        store=out / trace_folder(chosen),
        command=command_line(ctx),
        replay=replay_command(chosen, options["relation"]),
        worlds=worlds,
        bounds=Bounds(options["depth"], options["states"]),
        checkpoints=options["checkpoints"],
    )
    try:
        with progress(consoles.err()) as tell:
            result = gate.run(config, chosen.subject, chosen.tier, tell)
    except (StoreError, TraceError, WorldError) as error:
        raise InputError(str(error)) from error
    consoles.show(reports.terminal.render(result))
    for path in write_all(result, options["formats"], out):
        consoles.out().print(f"Written: {path}", soft_wrap=True)
    return result.exit_status


def _choose(names: tuple[str, ...], worlds: tuple[SmallWorld, ...]) -> tuple[SmallWorld, ...]:
    known = {small.name: small for small in worlds}
    for name in names:
        if name not in known:
            msg = f"world {name!r}: there is none of that name; expected {', '.join(known)}"
            raise InputError(msg)
    return tuple(known[name] for name in dict.fromkeys(names)) or worlds
