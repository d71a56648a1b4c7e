"""The command line: the only part that prints and exits."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import click

from equivalence.cli.errors import BROKEN_PIPE, OUR_ERROR, USAGE
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


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(package_name="equivcheck", message="%(prog)s %(version)s")
def equivcheck() -> None:
    """Is "no functional change intended" true? Runs the code before and after each patch of a
    HugeTLB series in lockstep, and shows the first difference as a minimal trace, or how hard it
    was looked for.
    """


def main() -> int:
    """Run the command line; the exit status."""
    return guarded(lambda: equivcheck.main(prog_name="equivcheck", standalone_mode=False))


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
        _say("interrupted; counterexamples found until then are in the store")
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Click ends with 1 when nobody reads its output, which would say "diverged". The
        # interpreter flushes standard output once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        _say(
            f"an error of equivcheck itself: {type(error).__name__}: {error}\n"
            f"Set {DEBUG}=1 to see where it comes from, and please report it."
        )
        return OUR_ERROR
    return status if isinstance(status, int) else 0


def _say(message: str, ctx: click.Context | None = None) -> None:
    name = ctx.command_path if ctx is not None else "equivcheck"
    click.echo(f"{name}: {message}", err=True)
    if ctx is not None:
        click.echo(f"Try '{name} --help'.", err=True)
