"""``equivcheck show``: what there is to check, and with what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from equivalence.cli import consoles
from equivalence.cli.choose import built_in, choose, load_series
from equivalence.cli.errors import InputError
from equivalence.cli.listing import difference, file_order, find, functions_of, listing, source
from equivalence.cli.options import series_option
from equivalence.series import Series, Step, c_name
from equivalence.subject import Subject
from models.schema.trace import Scalar


@click.command()
@click.argument("what", required=False, metavar="[TOPIC|FUNCTION]")
@series_option
@click.option("--step", type=click.IntRange(0), metavar="K", help="Print step K as one file.")
@click.option(
    "--diff",
    type=click.IntRange(0),
    nargs=2,
    default=None,
    metavar="J K",
    help="Print the difference between two steps.",
)
def show(what: str | None, series: str, step: int | None, diff: tuple[int, int] | None) -> int:
    """Show what there is.

    TOPIC is one of steps (the default), functions, ops, worlds, invariants, goals, predicates.
    With --step K, all functions of the step are printed as one readable file, or FUNCTION alone
    (by its C or its Python name).
    """
    if step is not None and diff is not None:
        msg = "--step and --diff are given; expected one of them"
        raise click.UsageError(msg)
    if diff is not None:
        if what is not None:
            msg = f"{what!r} is given with --diff; expected two steps only"
            raise click.UsageError(msg)
        loaded = load_series(series)
        lines = difference(_step(loaded, diff[0]), _step(loaded, diff[1]), _order(series))
        console = consoles.out()
        for line in lines:
            console.print(Text(line, style=_diff_style(line)), soft_wrap=True)
        return 0
    if step is not None:
        click.echo(_listed(_step(load_series(series), step), what, series), nl=False)
        return 0
    topic = what or "steps"
    if topic in _OF_SERIES:
        for part in _OF_SERIES[topic](load_series(series)):
            consoles.show(part)
    elif topic in _OF_SUBJECT:
        consoles.show(_OF_SUBJECT[topic](choose(series).subject))
    else:
        topics = ", ".join([*_OF_SERIES, *_OF_SUBJECT])
        msg = f"{topic!r} is no topic, expected {topics}; for a function name its step: --step K"
        raise click.UsageError(msg)
    return 0


def _step(series: Series, number: int) -> Step:
    if number >= len(series.steps):
        msg = f"step {number} does not exist; {series.name} has steps 0 to {len(series.patches)}"
        raise InputError(msg)
    return series.steps[number]


def _order(series: str) -> Sequence[str]:
    """The order of mm/hugetlb.c, for the series whose files are written in it."""
    if series not in built_in():
        return ()
    import legacy.hugetlb
    import refactored.hugetlb

    return file_order(vars(legacy.hugetlb), vars(refactored.hugetlb))


def _listed(step: Step, name: str | None, series: str) -> str:
    if name is None:
        return listing(step, _order(series))
    function = find(step, name)
    if function is None:
        msg = f"{name!r} is no function of step {step.number}; 'equivcheck show functions' has all"
        raise InputError(msg)
    return source(function)


def _diff_style(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _steps(series: Series) -> Iterator[RenderableType]:
    yield Text(f"{series.name}: {series.title}", style="bold")
    table = _table("step", "patch", "title", "functions changed, added, removed")
    table.add_row("0", "base", "", "")
    for number, patch in enumerate(series.patches, start=1):
        one, other = series.steps[number - 1], series.steps[number]
        table.add_row(
            str(number),
            patch.name,
            patch.title,
            "\n".join(_changed(other.changed_from(one), one, other)),
        )
    yield table
    others = [name for name in built_in() if name != series.name]
    if others:
        yield Text(f"Other series: {', '.join(others)} (--series NAME)")


def _changed(names: Sequence[str], one: Step, other: Step) -> Iterator[str]:
    for name in names:
        before, after = one.functions.get(name), other.functions.get(name)
        mark = "" if before and after else "+ " if after else "- "
        yield f"{mark}{c_name(after or before)}"


def _functions(series: Series) -> Iterator[RenderableType]:
    table = _table("C function", "file", "steps that change it")
    touched: dict[str, list[int]] = {}
    for number in range(1, len(series.steps)):
        for name in series.steps[number].changed_from(series.steps[number - 1]):
            touched.setdefault(name, []).append(number)
    seen: dict[str, str] = {}
    for step in series.steps:
        for name, function in functions_of(step, ()):
            origin = getattr(function, "__ported__", None)
            if origin is not None:
                seen[name] = origin.file
    for name, file in sorted(seen.items(), key=lambda item: (item[1], item[0])):
        function = next(s.functions[name] for s in series.steps if name in s.functions)
        table.add_row(c_name(function), file, ", ".join(map(str, touched.get(name, []))))
    yield table
    yield Text(f"{len(seen)} ported functions")


def _predicates(series: Series) -> Iterator[RenderableType]:
    for number, patch in enumerate(series.patches, start=1):
        for predicate in patch.predicates:
            differing = [
                row for row in predicate.domain if predicate.old(*row) != predicate.new(*row)
            ]
            yield Text(f"{patch.name} (step {number}): {predicate.name}", style="bold")
            yield Text(
                f"  inputs: {', '.join(predicate.names)}; {len(predicate.domain)} combinations, "
                f"{len(differing)} with different answers, {len(predicate.unreachable)} said to be "
                "unreachable"
            )


def _ops(subject: Subject) -> RenderableType:
    table = _table("op", "what it does", "arguments and the values that are drawn")
    for spec in subject.ops.values():
        rows = []
        for name, domain in spec.domains.items():
            text = f"{name}={_domain(domain)}"
            rows.append(text if name in spec.required else f"[{text}]")
        table.add_row(spec.kind, spec.about, "\n".join(rows))
    return table


def _worlds(subject: Subject) -> RenderableType:
    table = _table("key of a world", "values that are drawn")
    for name, domain in subject.worlds.items():
        table.add_row(name, _domain(domain))
    return table


def _domain(values: Sequence[Scalar]) -> str:
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        words = [value for value in values if not isinstance(value, int)]
        return "|".join([f"{numbers[0]}..{numbers[-1]}", *map(str, words)])
    return "|".join(map(str, values))


def _invariants(subject: Subject) -> RenderableType:
    table = _table("invariant", "what it says")
    for invariant in subject.invariants:
        table.add_row(invariant.name, invariant.about)
    return table


def _goals(subject: Subject) -> RenderableType:
    table = _table("goal", "what it means", "required")
    for goal in subject.goals:
        table.add_row(goal.name, goal.about, "yes" if goal.required else "no")
    return table


_OF_SERIES: Final[Mapping[str, Callable[[Series], Iterator[RenderableType]]]] = {
    "steps": _steps,
    "functions": _functions,
    "predicates": _predicates,
}
_OF_SUBJECT: Final[Mapping[str, Callable[[Subject], RenderableType]]] = {
    "ops": _ops,
    "worlds": _worlds,
    "invariants": _invariants,
    "goals": _goals,
}
