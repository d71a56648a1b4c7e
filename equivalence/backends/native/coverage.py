"""Which lines of the hosted files ran, from an image built for coverage.

The compiler calls a hook at the start of every basic block of the hosted files; the hook notes the
address. A line ran when a block that holds code of it ran.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from equivalence.backends.native.places import Places
from equivalence.backends.native.tree import HOSTED

BASE: Final = 0x400000
_HOOK: Final = "<__sanitizer_cov_trace_pc>"
_SYMBOL: Final = re.compile(r"^([0-9a-f]+) <([^>]+)>:$")
_CODE: Final = re.compile(r"^ *([0-9a-f]+):\t(.*)$")


class CoverageMap:
    """The blocks of an image and the lines they hold.

    A line is named ``file:number``, the file relative to the tree.
    """

    def __init__(self, image: Path) -> None:
        blocks = _blocks(image)
        places = Places(image)
        places.look_up(address for members in blocks.values() for address in members)
        self._lines: dict[str, set[int]] = defaultdict(set)
        self._functions: dict[str, set[str]] = defaultdict(set)
        for start, members in blocks.items():
            for address in members:
                for place in places.of(address):
                    if place.line and place.file in HOSTED:
                        line = f"{place.file}:{place.line}"
                        self._lines[line].add(start)
                        self._functions[place.function].add(line)

    def functions(self) -> Mapping[str, frozenset[str]]:
        """Function -> every line that holds code of it."""
        return {name: frozenset(lines) for name, lines in self._functions.items()}

    def ran(self, bitmap: bytes) -> frozenset[str]:
        """The lines of which at least one block ran."""
        return frozenset(
            line
            for line, starts in self._lines.items()
            if any(_bit(bitmap, start - BASE) for start in starts)
        )

    def partly(self, bitmap: bytes) -> frozenset[str]:
        """Lines that ran, with a block that did not: a branch never taken."""
        return frozenset(
            line
            for line, starts in self._lines.items()
            if len({_bit(bitmap, start - BASE) for start in starts}) == 2
        )


def _bit(bitmap: bytes, offset: int) -> bool:
    return bool(bitmap[offset >> 3] >> (offset & 7) & 1) if offset >> 3 < len(bitmap) else False


def _blocks(image: Path) -> dict[int, list[int]]:
    """Address after each call of the hook -> the addresses of the code up to the next one."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", "-j", ".init.text", str(image)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
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
