"""What one operation returned."""

from __future__ import annotations

from typing import Literal, NamedTuple

Ending = Literal["returned", "refused", "bug", "crash", "hang", "deadlock", "unmodelled"]


class Outcome(NamedTuple):
    """What one operation returned to its caller, or how it ended instead.

    ``ret`` is 0 or -1 as of the system call, ``errno`` and ``signal`` are names (``"ENOMEM"``,
    ``"SIGBUS"``), ``value`` the 64-bit word that a touch read or wrote. ``ending`` tells an
    operation that returned from one that was refused before it reached the kernel (it names a
    process or a mapping that does not exist) and from one that ended in BUG, a crash, a hang, a
    deadlock or a call to what is not modelled; ``detail`` then says where. ``warnings`` are the
    conditions of the WARNs that fired, in order. ``place`` is the file and line where it ended: for
    the reader, never compared, since code that only moved is the same code.
    """

    ret: int = 0
    errno: str | None = None
    signal: str | None = None
    si_code: int | None = None
    value: int | None = None
    ending: Ending = "returned"
    detail: str = ""
    warnings: tuple[str, ...] = ()
    place: str = ""

    @property
    def fatal(self) -> bool:
        """Whether the system cannot go on after this operation."""
        return self.ending not in ("returned", "refused")

    def alike(self, other: Outcome) -> bool:
        """Whether two outcomes say the same, wherever in the source they ended."""
        return self == other or self._replace(place="") == other._replace(place="")


OK = Outcome()
REFUSED = Outcome(ret=-1, ending="refused")
