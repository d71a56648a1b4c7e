"""The command line: the only part that prints and exits."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from equivalence.cli.configuration import find, read
from equivalence.cli.errors import BROKEN_PIPE, OUR_ERROR, USAGE, InputError
from models.schema.result import INTERRUPTED

#: Command -> the module that has it. Modules are loaded when they are needed.
COMMANDS: Final = {
    "run": "run",
    "explore": "explore",
    "mutate": "mutate",
    "replay": "replay",
    "repro": "repro",
    "shrink": "shrink",
    "calibrate": "calibrate",
    "record": "record",
    "report": "report",
    "show": "show",
    "config": "config",
    "completion": "completion",
}
#: Set to see where an error of ours comes from.
DEBUG: Final = "EQUIVCHECK_DEBUG"


class Commands(click.Group):
    """The commands, each in a module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are explained."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"equivalence.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and give it what the configuration says for it."""
        name, command, rest = super().resolve_command(ctx, args)
        # A shell that completes words wants no opinion of a file.
        if not ctx.resilient_parsing:
            assert name is not None
            assert command is not None
            configure(ctx, name, command)
        return name, command, rest


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings for the commands.  [default: equivcheck.toml, or [tool.equivcheck] of"
    " pyproject.toml, here or above]",
)
@click.option("--no-config", is_flag=True, help="Read no settings from a file.")
@click.version_option(package_name="equivcheck", message="%(prog)s %(version)s")
@click.pass_context
def equivcheck(ctx: click.Context, /, config_file: Path | None, *, no_config: bool) -> None:
    """Is "no functional change intended" true? Runs the code before and after each patch of a
    HugeTLB series in lockstep, and shows the first difference as a minimal trace, or how hard it
    was looked for.
    """


def configure(ctx: click.Context, name: str, command: click.Command) -> None:
    """Make what the configuration says for a command the defaults of its options.

    Raises:
        InputError: the file cannot be read, or says what no option takes.
    """
    group = ctx.command
    assert isinstance(group, Commands)
    path: Path | None = ctx.params["config_file"]
    if ctx.params["no_config"]:
        if path is not None:
            msg = "--config and --no-config exclude each other"
            raise click.UsageError(msg, ctx)
        return
    if path is None:
        path = find(Path.cwd())
        if path is None:
            return
    configuration = read(path)
    configuration.check_keys(tuple(COMMANDS), lambda other: group.get_command(ctx, other))
    settings = configuration.settings(command, name)
    ctx.obj = configuration
    ctx.default_map = {name: {key: setting.value for key, setting in settings.items()}}


def main() -> int:
    """Run the command line; the exit status."""
    return guarded(_main)


def _main() -> Any:
    try:
        Path.cwd()
    except OSError as error:
        msg = "the current folder is gone; change to one that exists"
        raise InputError(msg) from error
    return equivcheck.main(prog_name="equivcheck", standalone_mode=False)


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; whatever goes wrong becomes one message and a status, never a traceback."""
    try:
        status = command()
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        _say(error.format_message(), error.ctx if isinstance(error, click.UsageError) else None)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted; what was kept until then stays where it is")
        return INTERRUPTED
    except SystemExit as end:
        # How click's own completion of shell words ends.
        if not end.code:
            return 0
        return _nobody_reads()
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        _say(
            f"an error of equivcheck itself: {type(error).__name__}: {error}\n"
            f"Set {DEBUG}=1 to see where it comes from, and please report it."
        )
        return OUR_ERROR
    return status if isinstance(status, int) else 0


def _nobody_reads() -> int:
    """Nobody reads our output any more; that is no divergence, though click would end with 1.

    The interpreter flushes standard output once more when it ends.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _say(message: str, ctx: click.Context | None = None) -> None:
    name = ctx.command_path if ctx is not None else "equivcheck"
    click.echo(f"{name}: {message}", err=True)
    if ctx is not None:
        click.echo(f"Try '{name} --help'.", err=True)
