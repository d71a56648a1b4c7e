"""A kernel that says what a recording says, in place of one that boots in QEMU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from equivalence.subjects.hugetlb import recorder
from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.recording import Json, Recording

#: The kernel that was recorded copies for an owner differently from the base.
NAME = "s06_fork_child_cow_no_page_sigbus"


@cache
def recording() -> Recording:
    """The recording that is told."""
    return next(one for one in corpus() if one.name == NAME)


class ScriptedKernel:
    """Answers as the recording does; refuses ``refused`` kinds; ``fails`` when asked to boot.

    The second time it is asked it says ``otherwise`` of the pool after the last operation.
    """

    refused: frozenset[str] = frozenset()
    fails: Exception | None = None
    otherwise: Mapping[str, int] = {}
    clean = True
    made: list[ScriptedKernel] = []  # noqa: RUF012 -- a test clears it

    def __init__(self, *, kernel: Path | None = None) -> None:
        self.kernel = kernel
        self.boots = 0
        self.closed = False
        self.tracing = False
        self._lines: Iterator[Json] = iter(())
        self.made.append(self)

    @property
    def version(self) -> Json:
        """What it is."""
        version: Json = recording().head["kernel"]
        return version

    def boot(self) -> None:
        """Come up, or not."""
        self.boots += 1
        if self.fails is not None:
            raise self.fails

    def close(self) -> None:
        """Go down."""
        self.tracing = False
        self.closed = True

    def begin_trace(self, world: Mapping[str, Any]) -> Json:
        """The state after boot."""
        self.tracing = True
        self._lines = iter(recording().lines)
        self._number = 0
        initial: Json = recording().head["initial"]
        return initial

    def apply(self, op: str, args: Mapping[str, Any]) -> Json:
        """The next line, of whatever operation."""
        self._number += 1
        if op in self.refused or op == "refused":
            msg = f"record: {op} is not made here"
            raise recorder.OperationRefusedError(msg)
        line = next(self._lines)
        told = {**line, "i": self._number, "op": op, "args": dict(args)}
        if self.boots > 1 and self._number == len(recording().lines):
            told["pool"] = {**told["pool"], **self.otherwise}
        return told

    def end_trace(self) -> Json:
        """The tail."""
        self.tracing = False
        return {**recording().tail, "clean": self.clean}
