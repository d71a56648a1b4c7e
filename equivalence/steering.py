"""Which traces the next round varies: those that reached something, nearest to what is missing.

A trace that was the first to reach a point of a function has set up what that function needs. While
other points of the function have not run, such traces are the place to go on from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from equivalence.search import Novel
from models.schema.trace import Trace

#: How many traces a search is given to vary.
MAX_SEEDS: Final = 128


class Seeds:
    """Traces to vary; ``given`` are those that a user kept or that every run begins with."""

    def __init__(self, given: Sequence[Trace]) -> None:
        self._given = tuple(given[:MAX_SEEDS])
        self._found: list[Novel] = []

    def add(self, novel: Iterable[Novel]) -> None:
        """Take in traces that reached something new, in the order in which they did."""
        self._found += novel

    def chosen(self, wanting: AbstractSet[str]) -> tuple[tuple[Trace, ...], tuple[Trace, ...]]:
        """All traces to vary, and those near a function of which something has not run.

        The newest are near the most: what is easily reached was reached before them. So of more
        than :data:`MAX_SEEDS` the newest are taken.
        """
        near = [novel.trace for novel in self._found if not wanting.isdisjoint(novel.functions)]
        found = [novel.trace for novel in self._found]
        return (*self._given, *found)[-MAX_SEEDS:], tuple(near[-MAX_SEEDS:])
