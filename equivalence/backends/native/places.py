"""From addresses in an image to functions, files and lines of the C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from equivalence.backends.native import sandbox
from equivalence.backends.native.tree import HOSTED


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the C: function, file relative to the tree, line (0: unknown)."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        if not self.file:
            return self.function
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.function} ({where})"


_LOCATION: Final = re.compile(r"^(.*?):(\d+|\?)")


class Places:
    """Looks addresses of one image up, each once."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._known: dict[int, tuple[Place, ...]] = {}

    def of(self, address: int) -> tuple[Place, ...]:
        """The place of an address, innermost inlined function first."""
        self.look_up([address])
        return self._known[address]

    def look_up(self, addresses: Iterable[int]) -> None:
        """Look many addresses up at once."""
        wanted = sorted({a for a in addresses if a not in self._known})
        for at in range(0, len(wanted), 4000):
            self._ask(wanted[at : at + 4000])

    def _ask(self, addresses: Sequence[int]) -> None:
        words = [hex(address) for address in addresses]
        text = sandbox.listing(["addr2line", "-a", "-f", "-i", *words, "-e"], self._image)
        current: int | None = None
        found: dict[int, list[Place]] = {address: [] for address in addresses}
        lines = iter(text.splitlines())
        for line in lines:
            if line.startswith("0x") and re.fullmatch(r"0x[0-9a-f]+", line):
                current = int(line, 16)
                continue
            match = _LOCATION.match(next(lines, ""))
            if current is None or match is None:
                continue
            number = int(match[2]) if match[2].isdigit() else 0
            name = match[1].removeprefix("./")
            found[current].append(Place(line, name, number))
        for address, places in found.items():
            self._known[address] = tuple(places)

    def blame(self, frames: Sequence[int], *, interrupted: bool = False) -> Place | None:
        """The innermost place that is the tree's own code, not the shim's; what a header inlines
        is named by the function it was inlined into.

        The first frame is where it happened, the others are return addresses. An ``interrupted``
        loop is named by the hosted function furthest out, without a line: where in its round a
        timer catches it differs between two runs of one trace.
        """
        self.look_up(frame - (1 if number else 0) for number, frame in enumerate(frames))
        places = [
            place
            for number, frame in enumerate(frames)
            for place in self.of(frame - (1 if number else 0))
            if place.line and not place.file.startswith("shim/")
        ]
        if interrupted:
            hosted = [place for place in places if place.file in HOSTED]
            if hosted:
                return Place(hosted[-1].function, hosted[-1].file, 0)
        source = [place for place in places if place.file.endswith(".c")]
        return next(iter(source or places), None)
