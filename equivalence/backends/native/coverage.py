"""Which lines of the C ran: basic blocks, marked by the compiler, mapped to lines.

Files compiled for coverage call a hook at the start of every basic block; the hook sets a bit in
shared memory. The instructions between two calls of the hook are one block, and their debug lines
are the lines it holds.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from equivalence.backends.native import sandbox
from equivalence.backends.native.places import Places

BASE: Final = 0x400000
_HOOK: Final = "<__sanitizer_cov_trace_pc>"
_SYMBOL: Final = re.compile(r"^([0-9a-f]+) <([^>]+)>:$")
_CODE: Final = re.compile(r"^ *([0-9a-f]+):\t(.*)$")

_HEADING: Final = re.compile(r"^(\S.*\.[chS]):(?:\[\+\+\])?$")
_ROW: Final = re.compile(r"^\S+ +(\d+|-) +(0x[0-9a-f]+|0)\b")

#: A function, and a line of it as ``file:number`` with the file relative to the tree.
Point = tuple[str, str]


class CoverageMap:
    """The blocks of an image and the lines they hold, of the given files.

    ``blocks`` has the offset of each block's bit, and its points.
    """

    def __init__(self, image: Path, files: Iterable[str]) -> None:
        wanted = frozenset(files)
        self.blocks: list[tuple[int, tuple[Point, ...]]] = []
        functions: dict[str, set[str]] = defaultdict(set)
        for start, places in _places(image):
            points = tuple(
                (name, f"{file}:{line}") for name, file, line in places if file in wanted
            )
            if points:
                self.blocks.append((start - BASE, points))
                for function, line in points:
                    functions[function].add(line)
        #: Byte of a bitmap -> the blocks whose bits it has.
        self.places: dict[int, list[tuple[int, tuple[Point, ...]]]] = defaultdict(list)
        for block in self.blocks:
            self.places[block[0] >> 3].append(block)
        #: The part of a bitmap that has all the bits: first byte, and behind the last.
        self.part = min(self.places, default=0), max(self.places, default=0) + 1
        self.functions: Mapping[str, frozenset[str]] = {
            name: frozenset(lines) for name, lines in functions.items()
        }


class Covered:
    """What ran, kept up to date from bitmaps with little work for each."""

    def __init__(self, known: CoverageMap) -> None:
        self._map = known
        self.forget()

    def forget(self) -> None:
        """Nothing ran."""
        self._last = b""
        self._found: dict[str, frozenset[str]] = {name: frozenset() for name in self._map.functions}

    def add(self, bitmaps: Sequence[bytes]) -> None:
        """Take in the blocks that have not run before, from the map's part of all bitmaps."""
        size = self._map.part[1] - self._map.part[0]
        joined = 0
        for one in bitmaps:
            joined |= int.from_bytes(one, "little")
        bitmap = joined.to_bytes(size, "little")
        last, self._last = self._last, bitmap
        new: dict[str, set[str]] = {}
        first = self._map.part[0]
        for place, blocks in self._map.places.items():
            byte = bitmap[place - first]
            if last and byte == last[place - first]:
                continue
            for offset, points in blocks:
                if byte >> (offset & 7) & 1:
                    for function, line in points:
                        new.setdefault(function, set()).add(line)
        for function, lines in new.items():
            self._found[function] |= lines

    def points(self) -> Mapping[str, frozenset[str]]:
        """Function -> its lines of which at least one block ran."""
        return dict(self._found)


def _places(image: Path) -> list[tuple[int, list[tuple[str, str, int]]]]:
    """Address of each block's bit -> function, file and line of its instructions, each once.

    Kept beside the image.
    """
    kept = image.with_suffix(".lines.json")
    try:
        return [
            (start, [tuple(p) for p in places]) for start, places in json.loads(kept.read_text())
        ]
    except (OSError, ValueError):
        pass
    blocks = _blocks(image)
    places = Places(image)
    places.look_up(address for members in blocks.values() for address in members)
    found = []
    for start, members in blocks.items():
        points = {
            (place.function.partition(".")[0], place.file, place.line)
            for address in members
            for place in places.of(address)
            if place.line
        }
        found.append((start, sorted(points)))
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(found))
    partial.replace(kept)
    return found


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


def _blocks(image: Path) -> dict[int, list[int]]:
    """Address after each call of the hook -> the addresses of the code up to the next one."""
    command = ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", "-j", ".init.text"]
    text = sandbox.listing(command, image)
    found: dict[int, list[int]] = {}
    current: list[int] | None = None
    after_call = False
    for line in text.splitlines():
        if _SYMBOL.match(line):
            current, after_call = None, False
            continue
        match = _CODE.match(line)
        if match is None:
            continue
        address = int(match[1], 16)
        if after_call:
            current = found.setdefault(address, [])
            after_call = False
        if _HOOK in match[2]:
            after_call = True
        elif current is not None:
            current.append(address)
    return found
