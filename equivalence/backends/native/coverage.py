"""Which lines of the C ran, and which way its conditions went.

Files compiled for coverage call a hook at the start of every basic block; the hook notes the step
from the block before, in the same activation of a function, to this one. The instructions between
two calls of the hook are one block, and their debug lines are the lines it holds. A conditional
jump between two blocks has two outcomes, each known by the blocks that it leads to.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from equivalence.backends.native import sandbox
from equivalence.backends.native.flow import BASE, Code
from equivalence.backends.native.places import Place, Places

_HEADING: Final = re.compile(r"^(\S.*\.[chS]):(?:\[\+\+\])?$")
_ROW: Final = re.compile(r"^\S+ +(\d+|-) +(0x[0-9a-f]+|0)\b")
#: Between the line of a condition and where one of its outcomes leads.
TO: Final = " to "

#: A function, and a line of it as ``file:number`` with the file relative to the tree, or an outcome
#: of a condition as ``file:number to number``.
Point = tuple[str, str]
Description = dict[str, list[Any]]


class CoverageMap:
    """The blocks of an image and the lines they hold, of the given files.

    ``blocks`` has the points of each block, ``steps`` those of a step from block to block, by the
    numbers that a worker tells; ``functions`` all points of each function.
    """

    def __init__(self, image: Path, files: Iterable[str]) -> None:
        wanted = frozenset(files)
        self.blocks: dict[int, tuple[Point, ...]] = {}
        self.steps: dict[int, list[Point]] = defaultdict(list)
        functions: dict[str, set[str]] = defaultdict(set)
        known = _described(image)
        for start, places in known["blocks"]:
            points = tuple(
                (name, f"{file}:{line}") for name, file, line in places if file in wanted
            )
            if points:
                self.blocks[start - BASE] = points
                for function, line in points:
                    functions[function].add(line)
        for start, function, file, text, targets in known["outcomes"]:
            if file not in wanted:
                continue
            functions[function].add(text)
            for target in targets:
                self.steps[start - BASE << 32 | target - BASE].append((function, text))
        self.functions: Mapping[str, frozenset[str]] = {
            name: frozenset(lines) for name, lines in functions.items()
        }

    def outcomes(self, function: str, lines: frozenset[str]) -> frozenset[str]:
        """The outcomes of the function's conditions on the given lines."""
        points = self.functions.get(function, frozenset())
        return frozenset(point for point in points if point.partition(TO)[0] in lines) - lines


class Covered:
    """What ran, kept up to date with little work for each new step."""

    def __init__(self, known: CoverageMap) -> None:
        self._map = known
        self.forget()

    def forget(self) -> None:
        """Nothing ran."""
        self._found: dict[str, set[str]] = {name: set() for name in self._map.functions}

    def add(self, steps: Iterable[int]) -> None:
        """Take in steps that were made for the first time."""
        blocks, known, found = self._map.blocks, self._map.steps, self._found
        for step in steps:
            for function, line in blocks.get(step & 0xFFFFFFFF, ()):
                found[function].add(line)
            for function, outcome in known.get(step, ()):
                found[function].add(outcome)

    def points(self) -> Mapping[str, frozenset[str]]:
        """Function -> its lines of which at least one block ran, and outcomes."""
        return {name: frozenset(points) for name, points in self._found.items()}


def _described(image: Path) -> Description:
    """Blocks with their lines, and outcomes of conditions; kept beside the image."""
    kept = image.with_suffix(".flow.json")
    try:
        found: Description = json.loads(kept.read_text())
    except (OSError, ValueError):
        found = _describe(image)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found))
        partial.replace(kept)
    return found


def _describe(image: Path) -> Description:
    code = Code(image)
    places = Places(image)
    places.look_up(address for members in code.blocks.values() for address in members)
    blocks: list[Any] = []
    for start, members in code.blocks.items():
        points = {
            (_plain(place), place.file, place.line)
            for address in members
            for place in places.of(address)
            if place.line
        }
        blocks.append([start, sorted(points)])

    def place_of(address: int) -> Place | None:
        return next((place for place in places.of(address) if place.line), None)

    outcomes: list[Any] = []
    for start in code.blocks:
        for jump, ways in code.conditions(start):
            place = place_of(jump)
            if place is None:
                continue
            texts = [_outcome(place, [place_of(target) for target in way]) for way in ways]
            if texts[0] == texts[1]:
                texts[0] += " by a jump"
            for text, way in zip(texts, ways, strict=True):
                outcomes.append([start, _plain(place), place.file, text, sorted(way)])
    return {"blocks": blocks, "outcomes": outcomes}


def _plain(place: Place) -> str:
    return place.function.partition(".")[0]


def _outcome(place: Place, targets: list[Place | None]) -> str:
    """An outcome is named by where it leads."""
    there = min((t for t in targets if t), key=lambda t: (t.file, t.line), default=None)
    where = "elsewhere"
    if there is not None:
        where = f"{there.line}" if there.file == place.file else f"{there.file}:{there.line}"
    return f"{place.file}:{place.line}{TO}{where}"


def lines_with_code(path: Path, source: str) -> frozenset[tuple[str, int]]:
    """File and line of every instruction of the object made from ``source``.

    An object has what the linker leaves out of the image because nothing there calls it.
    """
    text = sandbox.listing(["objdump", "--dwarf=decodedline"], path)
    found: set[tuple[str, int]] = set()
    file = ""
    row: tuple[str, int, int] | None = None
    for line in text.splitlines():
        heading = _HEADING.match(line)
        match = _ROW.match(line)
        if heading is not None:
            name = heading[1].removeprefix("./")
            file = source if name == Path(source).name else name
        elif match is not None:
            at = int(match[2], 0)
            # a row without a byte of code before the next one holds nothing
            if row is not None and at > row[2]:
                found.add(row[:2])
            row = (file, int(match[1]), at) if match[1].isdigit() else None
    return frozenset(found)
