"""``equivcheck mutate``: which planted bugs the checks catch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.table import Table

from equivalence.cli import consoles
from equivalence.cli.choose import HOSTING, Chosen, choose
from equivalence.cli.errors import InputError
from equivalence.cli.files import save
from equivalence.cli.options import PATH, cpus, hosting_options, relation_option, series_option
from equivalence.cli.planting import Planting, names_of, needed, planting_of
from equivalence.fates import Fates, FatesError, fingerprint, going_on
from equivalence.mutants import Mutant
from equivalence.mutate import Fate, Hunter, Plan, Planter, hunt_all
from equivalence.scores import Reasons, evidence_of
from equivalence.subject import Tier

#: Options that say how hard each mutant is searched for.
PLAN = ("ops", "tries", "states", "raced", "seed", "relation", "shrink")
#: Unexplained survivors: no verdict of theirs is earned.
SURVIVORS = 3


@click.command()
@series_option
@hosting_options
@relation_option
@click.option("--step", type=click.IntRange(0), metavar="K", help="Mutate step K.  [default: last]")
@click.option("--core", is_flag=True, help="Mutate the reservation core too.")
@click.option(
    "--function", "functions", multiple=True, metavar="NAME", help="Only this one; repeatable."
)
@click.option("--ops", type=click.IntRange(1), default=5_000, show_default=True,
              help="Operations of the traces that are drawn.")  # fmt: skip
@click.option("--tries", type=click.IntRange(1), default=6_000, show_default=True,
              help="Operations of all traces that a mutant is tried on.")  # fmt: skip
@click.option("--states", type=click.IntRange(0), default=300, show_default=True,
              help="States of each small world; 0: no worlds.")  # fmt: skip
@click.option("--raced", type=click.IntRange(0), default=2_000, show_default=True,
              help="Operations that are run together, in two tasks; 0: none.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1, 256), default=cpus, show_default="all processors")
@click.option("--shrink", is_flag=True, help="Make each killing trace smaller.")
@click.option("--checkpoint", type=PATH, metavar="FILE",
              help="Keep fates there as they are known, and go on from there.")  # fmt: skip
@click.option("--json", "out", type=PATH, help="Write every mutant and its fate to this file.")
def mutate(**options: Any) -> int:
    """Plant bugs, one at a time, in the functions that the series touches, and search for each.

    A mutant is tried on the traces that run what it changes: those that every run replays, then
    drawn ones, then small worlds. What would not compile in C is counted apart.

    Exit status 0: every mutant was killed or is explained; 3: some survived.
    """
    from equivalence.subjects.hugetlb.mutation import explained

    hosting = {name: options[name] for name in HOSTING}
    chosen = choose(options["series"], **hosting, alone=True)
    tier = chosen.tier
    planting = needed(planting_of(chosen), options["series"])
    step = len(tier.patches) if options["step"] is None else options["step"]
    if step > len(tier.patches):
        msg = f"step {step} does not exist; {tier.series} has steps 0 to {len(tier.patches)}"
        raise InputError(msg)
    names = list(names_of(options, planting, step))
    if not options["functions"]:
        names = [*_touched(tier, planting.planter, step), *names]
    mutants = planting.planter.named(step, names)
    if not mutants:
        msg = "there is nothing to mutate: name functions with --function or --core, or a series"
        raise InputError(msg)
    plan = Plan(**{name: options[name] for name in PLAN})
    try:
        fates = _fates(options, chosen, planting, step, plan, mutants)
    except FatesError as error:
        raise InputError(str(error)) from error
    _tell(fates, explained)
    if options["out"] is not None:
        _write(options["out"], fates, explained)
    left = [fate for fate in fates if fate.survived and explained(fate.mutant.key) is None]
    return SURVIVORS if left else 0


def _fates(
    options: Mapping[str, Any],
    chosen: Chosen,
    planting: Planting,
    step: int,
    plan: Plan,
    mutants: Sequence[Mutant],
) -> list[Fate]:
    """The fates of all mutants, gone on with where a checkpoint says."""
    kept = None
    if options["checkpoint"] is not None:
        code = planting.planter.mark(step)
        mark = fingerprint(code, mutants, plan, chosen.subject.examples())
        kept = Fates(options["checkpoint"], mark)
    left = [m for m in mutants if kept is None or kept.fate(m) is None]
    fates = []
    with ExitStack() as stack:
        hunt: Iterable[Fate] = ()
        if left:
            worlds = planting.worlds if plan.states else ()
            workshop = planting.planter.workshop(step, left, plan.relation)
            hunter = stack.enter_context(closing(Hunter(chosen.subject, workshop, worlds, plan)))
            hunt = hunt_all(hunter, left, options["jobs"])
        for fate in going_on(kept, mutants, hunt):
            fates.append(fate)
            if len(fates) % 50 == 0:
                consoles.err().print(f"{len(fates)} of {len(mutants)} mutants")
    return fates


def _touched(tier: Tier, planter: Planter, step: int) -> list[str]:
    """The functions of a step that any patch of the series touches."""
    pairs = [(k - 1, k) for k in range(1, len(tier.patches) + 1)]
    names = {
        change.function
        for one, two in pairs
        for change in tier.changes(one, two).functions
        if change.role != "caller"
    }
    return [name for name in sorted(names) if planter.has(step, name)]


def _tell(fates: list[Fate], reason: Reasons) -> None:
    columns = ("function", "mutants", "killed", "explained", "survived", "not compiled")
    table = Table(*columns, box=None)
    for name in dict.fromkeys(fate.mutant.function for fate in fates):
        mine = [fate for fate in fates if fate.mutant.function == name]
        table.add_row(name, *map(str, _row(mine, reason)))
    table.add_row("all", *map(str, _row(fates, reason)), style="bold")
    consoles.show(table)
    killed = [fate for fate in fates if fate.killed]
    out = consoles.out()
    by = Counter((fate.killed_by, fate.how) for fate in killed)
    for (search, how), count in by.most_common():
        out.print(f"{count:5} {how} in {search}")
    if killed:
        ops = median(fate.ops for fate in killed)
        seconds = median(fate.seconds for fate in killed)
        out.print(f"Until killed: median {ops:g} operations, {seconds:.2g} s")
        alive = sum(fate.survived for fate in fates)
        fine = sum(fate.survived and reason(fate.mutant.key) is not None for fate in fates)
        every = len(killed) + alive
        score = f"{len(killed)} of {every} killed, {len(killed) / every:.1%}"
        out.print(f"{score}; of those that are not explained {len(killed) / (every - fine):.1%}")
    for fate in fates:
        if fate.survived:
            key = fate.mutant.key
            text = reason(key)
            note = "SURVIVED" if text is None else f"explained: {text}"
            note += "" if fate.ran else " (nothing ran this statement)"
            out.print(f"{fate.mutant.line}: {key}\n      {note}", soft_wrap=True)


def _row(fates: list[Fate], reason: Reasons) -> tuple[int, ...]:
    found = evidence_of(fates, reason)
    counts = (found.killed, found.explained, found.survived, found.not_compiled)
    return len(fates), *counts


def _write(path: Path, fates: list[Fate], reason: Reasons) -> None:
    rows = []
    for fate in fates:
        row = asdict(fate)
        del row["mutant"]["source"]
        rows.append({"key": fate.mutant.key, "explained": reason(fate.mutant.key), **row})
    save(
        path,
        json.dumps({"schema": "equivcheck/mutants/1", "mutants": rows}, indent=1) + "\n",
        "--json",
    )
