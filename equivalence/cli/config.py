"""``equivcheck config``: the values that a command would run with, and where each comes from."""

from __future__ import annotations

from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from equivalence.cli import consoles
from equivalence.cli.configuration import Configuration, options_of

_ORIGIN: Final = {
    click.core.ParameterSource.COMMANDLINE: "command line",
    click.core.ParameterSource.DEFAULT: "default",
}


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [OPTIONS]...")
@click.pass_context
def config(ctx: click.Context, /, words: tuple[str, ...]) -> int:
    """Print the effective values of a command's options and the origin of each.

    COMMAND is run unless another is named; OPTIONS are those that it would be given. A value comes
    from the command line, from a file (its line is named), or is the default.
    """
    name, *rest = words if words and not words[0].startswith("-") else ("run", *words)
    group = ctx.parent
    assert group is not None
    assert isinstance(group.command, click.Group)
    # As if it had been called: unknown commands and wrong values are told in the same words.
    _, command, rest = group.command.resolve_command(group, [name, *rest])
    assert command is not None
    rest = [*rest, *_missing_arguments(command, rest)]
    with command.make_context(name, rest, parent=group) as called:
        rows = [
            (key, _shown(called.params[str(option.name)]), _origin(called, option, name, key))
            for key, option in options_of(command).items()
        ]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("option", "value", "origin"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row)
    file = group.obj.path if isinstance(group.obj, Configuration) else "none"
    consoles.out().print(f"equivcheck {name}; configuration: {file}", soft_wrap=True)
    consoles.show(table)
    return 0


def _missing_arguments(command: click.Command, rest: list[str]) -> list[str]:
    """Stand-ins for arguments (files, mostly) that need not be named to ask for the settings."""
    if any(not word.startswith("-") for word in rest):
        return []
    return ["-" for param in command.params if isinstance(param, click.Argument) and param.required]


def _origin(ctx: click.Context, option: click.Option, name: str, key: str) -> str:
    source = ctx.get_parameter_source(str(option.name))
    if source is click.core.ParameterSource.DEFAULT_MAP:
        assert ctx.parent is not None
        configuration: Configuration = ctx.parent.obj
        table = name if key in configuration.tables.get(name, {}) else ""
        return configuration.place(table, key)
    assert source is not None
    return _ORIGIN[source]


def _shown(value: Any) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}s"
        case tuple() | list():
            return ",".join(map(str, value)) or "(none)"
    return str(value)
