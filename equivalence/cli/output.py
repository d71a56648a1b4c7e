"""Which reports are written, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click

import reports.github
import reports.html
import reports.json
import reports.junit
import reports.ktap
import reports.mail
import reports.markdown
from equivalence.cli.files import save
from models.schema.result import Result


class Writer(NamedTuple):
    """A format: its file's name and the pure function that makes its text."""

    file: str
    text: Callable[[Result], str]


WRITERS: Final[Mapping[str, Writer]] = {
    "json": Writer("result.json", reports.json.write),
    "html": Writer("report.html", reports.html.write),
    "junit": Writer("junit.xml", reports.junit.write),
    "ktap": Writer("result.ktap", reports.ktap.write),
    "markdown": Writer("summary.md", reports.markdown.write),
    "github": Writer("github.txt", reports.github.write),
    "mail": Writer("mail.txt", reports.mail.write),
}
DEFAULT: Final = ("html", "json")


class Formats(click.ParamType[tuple[str, ...]]):
    """A list of formats, separated by commas."""

    name = "formats"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The formats of a text such as ``html,json``; each once."""
        wanted = [word.strip() for word in str(value).split(",") if word.strip()]
        unknown = [word for word in wanted if word not in WRITERS]
        if unknown or not wanted:
            got = unknown[0] if unknown else str(value)
            self.fail(f"{got!r} is no format, expected some of {','.join(WRITERS)}", param, ctx)
        return tuple(dict.fromkeys(wanted))


def write_all(result: Result, formats: Sequence[str], folder: Path) -> list[Path]:
    """Write the reports, ``result.json`` first and always: the others can be made from it.

    Raises:
        InputError: a file cannot be written.
    """
    written = []
    for name in dict.fromkeys(["json", *formats]):
        path = folder / WRITERS[name].file
        save(path, WRITERS[name].text(result))
        written.append(path)
    return written
