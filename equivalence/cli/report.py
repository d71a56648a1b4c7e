"""``equivcheck report``: make reports from a ``result.json``."""

from __future__ import annotations

from pathlib import Path

import click

import reports.terminal
from equivalence.cli import consoles
from equivalence.cli.files import load_result, prepare_folder, save
from equivalence.cli.options import PATH
from equivalence.cli.output import WRITERS, Formats
from reports.compare import compare


@click.command()
@click.argument("result_file", metavar="RESULT", type=PATH)
@click.argument("newer", metavar="[NEWER]", type=PATH, required=False)
@click.option(
    "--format",
    "formats",
    type=Formats(),
    help=f"Formats to write, of {', '.join(WRITERS)}.  [default: what run prints]",
)
@click.option("--out", type=PATH, help="Folder to write to.  [default: stdout, for one format]")
def report(
    result_file: Path, newer: Path | None, formats: tuple[str, ...] | None, out: Path | None
) -> int:
    """Read a result.json and print it as run does, or write it in other formats.

    With a NEWER result, print what changed between the two. Exits 0 whatever the verdicts are.
    """
    result = load_result(result_file)
    if newer is not None:
        if formats or out:
            msg = "two results are compared on standard output; --format and --out are for one"
            raise click.UsageError(msg)
        consoles.show(reports.terminal.changes(compare(result, load_result(newer))))
        return 0
    if formats is None and out is None:
        consoles.show(reports.terminal.render(result))
        return 0
    chosen = formats or ("html",)
    if out is None:
        if len(chosen) > 1:
            msg = "--format: more than one format needs a folder; name one with --out"
            raise click.UsageError(msg)
        click.echo(WRITERS[chosen[0]].text(result), nl=False)
        return 0
    prepare_folder(out)
    for name in chosen:
        path = out / WRITERS[name].file
        save(path, WRITERS[name].text(result))
        consoles.err().print(f"Written: {path}", soft_wrap=True)
    return 0
