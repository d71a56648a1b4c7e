"""Bad input: one clear message and exit status 2, never a traceback."""

from __future__ import annotations

import click

USAGE = 2
OUR_ERROR = 4
#: What a shell reports of a program that SIGPIPE ended: nobody reads the output any more.
BROKEN_PIPE = 141


class InputError(click.ClickException):
    """Something given by the user cannot be used; the message names it and says what to do."""

    exit_code = USAGE


class MachineStop(click.ClickException):
    """The machine lacks something, such as a program or space; the message says what to do."""

    exit_code = OUR_ERROR
