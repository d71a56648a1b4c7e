"""Standard output for results, standard error for everything else.

Rich decides by the stream and by ``NO_COLOR`` whether to colour. Where nobody looks (a file, a
pipe) lines are 80 columns wide unless ``COLUMNS`` says otherwise.
"""

from __future__ import annotations

import os
import re
from typing import Final

from rich.console import Console, RenderableType
from rich.text import Text

PLAIN_WIDTH: Final = 80
#: Wider lines are hard to read, however wide the terminal is.
MAX_WIDTH: Final = 120


def out() -> Console:
    """Where results go."""
    return _console(stderr=False)


def err() -> Console:
    """Where progress and messages go."""
    return _console(stderr=True)


def show(renderable: RenderableType) -> None:
    """Print to standard output, without the blanks with which rich fills lines."""
    console = out()
    with console.capture() as capture:
        # rich joins texts into one of its own making, which would be wrapped again.
        text = renderable if isinstance(renderable, Text) else None
        console.print(
            renderable,
            crop=False,
            no_wrap=None if text is None else text.no_wrap,
            overflow=None if text is None else text.overflow,
        )
    lines = capture.get().splitlines()
    console.file.write("".join(f"{harmless(line.rstrip())}\n" for line in lines))


def harmless(line: str) -> str:
    """The line, unless a CI service would take it for a command, as GitHub takes ``::name::``."""
    return _COMMAND.sub(r"\1 \2", line)


#: Runners look behind leading blanks, and rich may have put colours there.
_COMMAND: Final = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*[:#])([:#])")


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    wanted = os.environ.get("COLUMNS", "")
    if not console.is_terminal and not wanted.isdecimal():
        console.width = PLAIN_WIDTH
    console.width = min(console.width, MAX_WIDTH)
    return console
