"""The control flow of an image that was built for coverage, as far as blocks and conditions go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from equivalence.backends.native import sandbox

BASE: Final = 0x400000
_HOOK: Final = "<__sanitizer_cov_trace_pc>"
_CODE: Final = re.compile(r"^ *([0-9a-f]+):\t(.*)$")
_JUMP: Final = re.compile(r"^(?:bnd |notrack )?(j\w+|loop\w*) +([0-9a-f]+)\b")
_CALL: Final = re.compile(r"^(?:bnd |notrack )?call\w* .*<([^>+]+)>$")
_ENDS: Final = ("ret", "ud2", "hlt", "iret", "jmp", "notrack jmp", "bnd jmp", "int3")
#: Calls that do not come back, and those by which a condition only asserts something.
_FINAL: Final = frozenset({"nh_bug", "nh_fatal", "nh_unmodelled", "panic"})
_ASSERTS: Final = frozenset({"nh_bug", "nh_warn"})
#: Instructions looked at between two blocks at most.
_FAR: Final = 500

#: The blocks that either outcome of a condition leads to, and the other does not.
Ways = tuple[frozenset[int], frozenset[int]]


class Code:
    """The instructions of an image.

    ``blocks`` has the addresses of each block, by the address behind the call of the hook that
    begins it.
    """

    def __init__(self, image: Path) -> None:
        command = ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", "-j", ".init.text"]
        text = sandbox.listing(command, image)
        self._text: dict[int, str] = {}
        self._next: dict[int, int] = {}
        self.blocks: dict[int, list[int]] = {}
        last, current, after_hook = 0, None, False
        for line in text.splitlines():
            if not line.startswith(" "):  # a symbol, or a section
                last, current = 0, None
                continue
            match = _CODE.match(line)
            if match is None:
                continue
            address, said = int(match[1], 16), match[2].strip()
            self._text[address] = said
            if last:
                self._next[last] = address
            if after_hook:
                current = self.blocks.setdefault(address, [])
            after_hook = _HOOK in said
            if after_hook:
                current = None
            elif current is not None:
                current.append(address)
            last = address
        self._reached = cache(self._reach)

    def conditions(self, start: int) -> Iterator[tuple[int, Ways]]:
        """The conditional jumps between a block and the next ones, with what tells their outcomes.

        Those that only assert something are left out, and those whose outcomes lead to one place.
        """
        for jump, target in self._walk(start)[1]:
            behind = self._next.get(jump)
            if behind is None:
                continue
            one, other = self._reached(target), self._reached(behind)
            ways = one - other, other - one
            if ways[0] and ways[1] and not any(map(self._asserts, ways[0] | ways[1])):
                yield jump, ways

    def _reach(self, address: int) -> frozenset[int]:
        return self._walk(address)[0]

    def _walk(self, start: int) -> tuple[frozenset[int], list[tuple[int, int]]]:
        """The blocks reached first from an address, and the conditional jumps before them."""
        blocks: set[int] = set()
        jumps: list[tuple[int, int]] = []
        seen: set[int] = set()
        waiting = [start]
        while waiting:
            at: int | None = waiting.pop()
            while at is not None and at not in seen and len(seen) < _FAR:
                seen.add(at)
                said = self._text.get(at)
                if said is None:
                    break
                if _HOOK in said:
                    blocks.add(self._next.get(at, 0))
                    break
                jump = _JUMP.match(said)
                call = _CALL.match(said)
                if jump is not None and jump[1] == "jmp":
                    at = int(jump[2], 16)
                    continue
                if jump is not None:
                    jumps.append((at, int(jump[2], 16)))
                    waiting.append(int(jump[2], 16))
                elif said.startswith(_ENDS) or (call is not None and call[1] in _FINAL):
                    break
                at = self._next.get(at)
        return frozenset(blocks - {0}), jumps

    def _asserts(self, block: int) -> bool:
        """Whether a block begins by telling that something is wrong."""
        at: int | None = block
        for _ in range(12):
            said = self._text.get(at, "ret") if at is not None else "ret"
            call = _CALL.match(said)
            if call is not None:
                return call[1] in _ASSERTS
            if said.startswith(_ENDS) or _JUMP.match(said):
                return False
            at = self._next.get(at) if at is not None else None
        return False
