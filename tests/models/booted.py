"""One booted system at step 0, driven by operations as a trace writes them."""

from __future__ import annotations

from functools import cache
from typing import Any

from equivalence.backends.port import PortSystem
from equivalence.series import Step
from equivalence.subjects.hugetlb.series import HugetlbConventions, vma_dependence
from models.schema.outcome import Outcome
from models.schema.trace import Op, parse_line


@cache
def base_step() -> Step:
    """The base of the series that equivcheck was made for."""
    return vma_dependence().steps[0]


class Booted:
    """A system in a world; ``world`` as a trace's world line without the word itself."""

    def __init__(self, world: str = "nr_hugepages=4") -> None:
        self.system = PortSystem(base_step(), HugetlbConventions())
        self.system.boot(parse_line(f"world {world}").args)

    def __getattr__(self, name: str) -> Any:
        return self.system.namespace[name]

    def try_(self, line: str) -> Outcome:
        """The outcome of one operation, such as ``"touch_read proc=A map=m page=0"``."""
        return self.system.apply(parse_line(line))

    def do(self, *lines: str) -> None:
        """Operations that must succeed."""
        for line in lines:
            outcome = self.try_(line)
            assert outcome.ret == 0, f"{line}: {outcome}"

    def errno(self, line: str) -> str | None:
        """How an operation that must return fails."""
        outcome = self.try_(line)
        assert outcome.ending == "returned", outcome
        return outcome.errno

    def refused(self, line: str) -> bool:
        """Whether the operation never reaches the kernel."""
        return self.try_(line).ending == "refused"

    @property
    def view(self) -> Any:
        """What a recording would hold of the state."""
        return self.system.namespace["readout"]()

    @property
    def pool(self) -> tuple[int, int, int, int]:
        """nr, free, resv, surplus of the 2 MiB pages."""
        pool = self.view["pool"]
        return pool["nr"], pool["free"], pool["resv"], pool["surplus"]

    def file(self, proc: str, fd: str) -> Any:
        """An open file as the recording shows it."""
        return self.view["procs"][proc]["fds"][fd]

    def pages(self, proc: str, name: str) -> list[str | None]:
        """A mapping as the recording shows it."""
        pages: list[str | None] = self.view["procs"][proc]["maps"][name]
        return pages

    def tail(self) -> Any:
        """Tear everything down."""
        return self.system.namespace["tear_down"]()


def ops(*lines: str) -> tuple[Op, ...]:
    """Operations of a trace."""
    return tuple(parse_line(line) for line in lines)
