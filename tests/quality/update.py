"""Writes what the public command finds now into the table of planted bugs.

``python -m tests.quality.update [NAME...]``: a run replays examples and recordings first, so a new
one may end in another minimal trace. Look at the difference before it is committed: each trace that
changed must still be one by which a reviewer would want to see the bug.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.quality import planted
from tests.quality.command import found, pair, run

TABLE = Path(planted.__file__)


def entry(text: str, name: str, field: str, lines: tuple[str, ...]) -> str:
    """The table's text with another field and trace for one bug."""
    start = text.index("field=", text.index(f'    Planted(\n        "{name}",'))
    end = text.index('""",\n', text.index('trace="""', start) + len('trace="""')) + len('""",\n')
    trace = "".join(f"        {line}\n" for line in lines)
    return f'{text[:start]}field="{field}",\n        trace="""\n{trace}        """,\n{text[end:]}'


def main(names: list[str]) -> None:
    """Run each and rewrite the table."""
    for one in planted.PLANTED:
        if names and one.name not in names:
            continue
        options = ("--relation", "effects") if one in planted.EFFECTS else ()
        with tempfile.TemporaryDirectory() as folder:
            series = f"tests.quality.planted:{one.name}"
            done = run(series, Path(folder), "--ops", "20000", *options)
        field, lines = found(pair(done.result, 1))
        before = TABLE.read_text()
        after = entry(before, one.name, field, lines)
        TABLE.write_text(after)
        sys.stdout.write(f"{one.name}: {'changed' if after != before else 'as it was'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
