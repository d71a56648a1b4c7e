"""Edits of our ports as recipes, and the series that each of them makes."""

from __future__ import annotations

from dataclasses import dataclass

from equivalence.edit import edit
from equivalence.series import Patch, Series
from equivalence.subjects.hugetlb.series import base, on_base

MOST_LINES = 3


@dataclass(frozen=True, slots=True)
class Recipe:
    """Replace ``old`` in ``function`` of the base by ``new``; ``about`` says what that does."""

    name: str
    about: str
    function: str
    old: str
    new: str

    def patch(self) -> Patch:
        """The edit as a patch of one function.

        Raises:
            ValueError: more than three lines, or ``old`` is not there exactly once.
        """
        if max(self.old.count("\n"), self.new.count("\n")) >= MOST_LINES:
            msg = f"{self.name}: more than {MOST_LINES} lines"
            raise ValueError(msg)
        edited = edit(base().table[self.function], self.old, self.new, "planted")
        return Patch(self.name, self.about, replace={self.function: edited})

    def series(self) -> Series:
        """A series of this one patch."""
        return on_base(self.name, self.about, self.patch())


@dataclass(frozen=True, slots=True)
class Planted(Recipe):
    """A bug, with the minimal trace (without its first line) and the first field that differ."""

    field: str
    trace: str
