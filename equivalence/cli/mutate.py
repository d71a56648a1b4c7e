"""``equivcheck mutate``: which planted bugs the checks catch."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.table import Table

from equivalence.backends.port_tier import PortTier
from equivalence.cli import consoles
from equivalence.cli.choose import choose
from equivalence.cli.errors import InputError
from equivalence.cli.files import save
from equivalence.cli.options import PATH, cpus, relation_option, series_option
from equivalence.mutate import Fate, Hunter, Plan, hunt_all, mutants_in, touched

#: Unexplained survivors: no verdict of theirs is earned.
SURVIVORS = 3


@click.command()
@series_option
@relation_option
@click.option("--step", type=click.IntRange(0), metavar="K", help="Mutate step K.  [default: last]")
@click.option("--core", is_flag=True, help="Mutate the reservation core too.")
@click.option(
    "--function", "functions", multiple=True, metavar="NAME", help="Only this one; repeatable."
)
@click.option("--ops", type=click.IntRange(1), default=5_000, show_default=True,
              help="Operations of the sampler for each mutant.")  # fmt: skip
@click.option("--states", type=click.IntRange(0), default=300, show_default=True,
              help="States of each small world; 0: no worlds.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1, 256), default=cpus, show_default="all processors")
@click.option("--shrink", is_flag=True, help="Make each killing trace smaller.")
@click.option("--json", "out", type=PATH, help="Write every mutant and its fate to this file.")
def mutate(**options: Any) -> int:
    """Plant bugs, one at a time, in the functions that the series touches, and search for each.

    Exit status 0: every mutant was killed or is explained; 3: some survived.
    """
    from equivalence.subjects.hugetlb.mutation import core, explained
    from equivalence.subjects.hugetlb.worlds import WORLDS

    chosen = choose(options["series"])
    tier = chosen.tier
    if not isinstance(tier, PortTier):
        msg = f"series {options['series']!r}: it is not made of ports, so it cannot be mutated"
        raise InputError(msg)
    step = len(tier.patches) if options["step"] is None else options["step"]
    if step > len(tier.patches):
        msg = f"step {step} does not exist; {tier.series} has steps 0 to {len(tier.patches)}"
        raise InputError(msg)
    names = options["functions"] or (
        *_touched(tier, step),
        *(core() if options["core"] else ()),
    )
    for name in names:
        if name not in tier.functions(step):
            msg = f"function {name!r}: step {step} has none; 'equivcheck show functions' lists them"
            raise InputError(msg)
    plan = Plan(
        options["ops"], options["states"], options["seed"], options["relation"], options["shrink"]
    )
    hunter = Hunter(chosen.subject, tier, step, WORLDS if plan.states else (), plan)
    mutants = mutants_in(tier, step, names)
    fates = []
    for fate in hunt_all(hunter, mutants, options["jobs"]):
        fates.append(fate)
        if len(fates) % 50 == 0:
            consoles.err().print(f"{len(fates)} of {len(mutants)} mutants")
    known = explained()
    _tell(fates, known)
    if options["out"] is not None:
        _write(options["out"], fates, known)
    left = [fate for fate in fates if not fate.killed_by and fate.mutant.key not in known]
    return SURVIVORS if left else 0


def _touched(tier: PortTier, step: int) -> tuple[str, ...]:
    """The functions of a step that any patch of the series touches."""
    pairs = [(k - 1, k) for k in range(1, len(tier.patches) + 1)]
    names = {
        name for one, two in pairs for name in (*touched(tier, one, two), *_removed(tier, one))
    }
    return tuple(sorted(names & tier.functions(step).keys()))


def _removed(tier: PortTier, before: int) -> list[str]:
    changes = tier.changes(before, before + 1)
    return [change.function for change in changes.functions if change.role == "removed"]


def _tell(fates: list[Fate], known: Any) -> None:
    table = Table("function", "mutants", "killed", "explained", "survived", box=None)
    for name in dict.fromkeys(fate.mutant.function for fate in fates):
        mine = [fate for fate in fates if fate.mutant.function == name]
        alive = [fate for fate in mine if not fate.killed_by]
        fine = sum(fate.mutant.key in known for fate in alive)
        row = (len(mine), len(mine) - len(alive), fine, len(alive) - fine)
        table.add_row(name, *map(str, row))
    consoles.show(table)
    killed = [fate for fate in fates if fate.killed_by]
    out = consoles.out()
    by = Counter((fate.killed_by, fate.how) for fate in killed)
    for (search, how), count in by.most_common():
        out.print(f"{count:5} {how} in {search}")
    if killed:
        typical = median(fate.ops for fate in killed)
        out.print(f"Operations until killed: median {typical:g}")
    for fate in fates:
        if not fate.killed_by:
            key = fate.mutant.key
            note = f"explained: {known[key]}" if key in known else "SURVIVED"
            out.print(f"{fate.mutant.line}: {key}\n      {note}", soft_wrap=True)


def _write(path: Path, fates: list[Fate], known: Any) -> None:
    rows = []
    for fate in fates:
        row = asdict(fate)
        del row["mutant"]["source"]
        rows.append({"key": fate.mutant.key, "explained": known.get(fate.mutant.key), **row})
    save(path, json.dumps({"schema": "equivcheck/mutants/1", "mutants": rows}, indent=1) + "\n")
