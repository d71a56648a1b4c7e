"""Writes ``docs/cli.md`` from the program's own help: ``python -m tools.cli_docs``."""

from __future__ import annotations

from pathlib import Path

import click

from equivalence.cli import COMMANDS, equivcheck

DOCS = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """\
# The command line

Written by `python -m tools.cli_docs` from the program's own help; a test holds that it is.
`docs/configuration.md` says how a file sets options.
"""


def text() -> str:
    """The page."""
    root = click.Context(
        equivcheck, info_name="equivcheck", terminal_width=80, **equivcheck.context_settings
    )
    parts = [HEAD, "## equivcheck", block(equivcheck.get_help(root))]
    for name in COMMANDS:
        command = equivcheck.get_command(root, name)
        assert command is not None
        context = click.Context(
            command, info_name=name, parent=root, terminal_width=80, **command.context_settings
        )
        parts += [f"## equivcheck {name}", block(command.get_help(context))]
    return "\n".join(parts)


def block(words: str) -> str:
    """Text as it is on a terminal."""
    return f"\n```\n{words}\n```\n"


if __name__ == "__main__":
    DOCS.write_text(text(), encoding="utf-8")
