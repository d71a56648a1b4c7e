"""Check the arguments of one operation, each taken once; what was not taken is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError
from equivalence.subjects.hugetlb.recorder.guest import NODES

SLOT_PAGES = 2048
"""Huge pages between two mappings' address slots (4 GiB)."""

_MOST_PAGES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class Arguments:
    """The arguments of one operation; every method raises `OperationRefusedError`."""

    def __init__(self, op: str, args: Mapping[str, Any]) -> None:
        self.op = op
        self._args = args
        self._left = set(args)

    def has(self, key: str) -> bool:
        """Return whether the argument was given."""
        return key in self._args

    def name(self, key: str) -> str:
        """Take a name."""
        value = self._take(key)
        if not isinstance(value, str) or not _NAME.fullmatch(value) or value in (".", ".."):
            raise self._refuse(key, value, "a name of letters, digits, '_', '.', '-'")
        return value

    def number(self, key: str, default: int | None = None, most: int = _MOST_PAGES) -> int:
        """Take a number from 0 to `most`; without `default` it must be there."""
        if default is not None and key not in self._args:
            return default
        value = self._take(key)
        if not isinstance(value, int) or not 0 <= value <= most:
            raise self._refuse(key, value, f"a number from 0 to {most}")
        return int(value)

    def flag(self, key: str) -> bool:
        """Take 0 or 1; without the argument, 0."""
        return bool(self.number(key, 0, most=1))

    def word(self, key: str, words: Mapping[str, int], default: str | None = None) -> int:
        """Take one of `words` as its number; without `default` it must be there."""
        if default is not None and key not in self._args:
            return words[default]
        value = self._take(key)
        if not isinstance(value, str) or value not in words:
            raise self._refuse(key, value, "one of " + ", ".join(words))
        return words[value]

    def nodes(self, key: str) -> int:
        """Take a list of nodes such as "0,1" as a mask; without the argument, 0."""
        if key not in self._args:
            return 0
        value = self._take(key)
        return self._mask(key, value)

    def some_nodes(self, key: str) -> int:
        """Take a list of nodes that must be there, but may be empty."""
        value = self._take(key)
        return 0 if value == "" else self._mask(key, value)

    def _mask(self, key: str, value: object) -> int:
        mask = 0
        for part in str(value).split(","):
            if not part.isdecimal() or int(part) >= NODES:
                raise self._refuse(key, value, f"nodes from 0 to {NODES - 1}, as in '0,1'")
            mask |= 1 << int(part)
        return mask

    def range(self, pages: int) -> tuple[int, int]:
        """Take `start` and `len` in huge pages; by default page 0, and the rest of the mapping."""
        start = self.number("start", 0, most=SLOT_PAGES)
        return start, self.number("len", max(pages - start, 0), most=SLOT_PAGES - start)

    def limit(self, key: str) -> int:
        """Take a number of huge pages or "max" (-1)."""
        if self._args.get(key) == "max":
            self._take(key)
            return -1
        return self.number(key)

    def root(self, key: str) -> bool:
        """Take the root cgroup's name, if it is that."""
        if self._args.get(key) != "/":
            return False
        self._left.discard(key)
        return True

    def done(self) -> None:
        """Refuse what was given and not taken."""
        if self._left:
            key = min(self._left)
            msg = f"operation {self.op!r} has no argument {key!r}; leave it out"
            raise OperationRefusedError(msg)

    def _refuse(self, key: str, value: object, expected: str) -> OperationRefusedError:
        return OperationRefusedError(
            f"operation {self.op!r}: {key} is {value!r}, expected {expected}"
        )

    def _take(self, key: str) -> Any:
        if key not in self._args:
            msg = f"operation {self.op!r} lacks its argument {key!r}; give it"
            raise OperationRefusedError(msg)
        self._left.discard(key)
        return self._args[key]
