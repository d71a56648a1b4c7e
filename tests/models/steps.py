"""A whole system of the ports that is driven by lines of the trace format, for tests.

``World()`` is the base, ``World(stable)`` has bodies of 6.12.117 in place of the base's.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from equivalence.backends.port import PortSystem
from equivalence.series import Patch, Series, Step
from equivalence.subjects.hugetlb.series import HugetlbConventions, base
from models.schema.outcome import Outcome
from models.schema.trace import parse_line

SIZE = 2 << 20


@cache
def step(*later: ModuleType) -> Step:
    """The base, with the functions that the modules define in place of its own."""
    table = base().table
    own = {
        name: value
        for module in later
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__
    }
    patch = Patch(
        "later",
        "later",
        replace={name: value for name, value in own.items() if name in table},
        add={name: value for name, value in own.items() if name not in table},
    )
    return Series("test", "test", base(), (patch,)).steps[1]


class World:
    """One booted system; ``w.name`` reads a symbol of its namespace."""

    def __init__(self, *later: ModuleType, effects: bool = False, **world: int | str) -> None:
        self.system = PortSystem(step(*later), HugetlbConventions(), effects=effects)
        self.system.boot(world)

    def __getattr__(self, name: str) -> Any:
        return self.system.namespace[name]

    def __call__(self, line: str) -> Outcome:
        """Run one operation, which must not end the system."""
        outcome = self.system.apply(parse_line(line))
        assert not outcome.fatal, outcome
        assert outcome.ending == "returned", f"{line}: {outcome}"
        return outcome

    def ok(self, *lines: str) -> None:
        """Run operations that must all succeed."""
        for line in lines:
            outcome = self(line)
            assert outcome.ret == 0, f"{line}: {outcome}"

    def errno(self, line: str) -> str | None:
        """Run an operation; the name of its errno."""
        return self(line).errno

    def refused(self, line: str) -> bool:
        """Run an operation; whether it never reached the kernel."""
        return self.system.apply(parse_line(line)).ending == "refused"

    def read(self, proc: str, name: str, page: int = 0) -> int | None:
        """The word at the start of a page."""
        return self(f"touch_read proc={proc} map={name} page={page}").value

    def signal(self, line: str) -> tuple[str | None, int | None]:
        """Run a touch; its signal and si_code."""
        outcome = self(line)
        return outcome.signal, outcome.si_code

    @property
    def counters(self) -> tuple[int, int, int, int]:
        """nr, free, resv, surplus of the pool of 2 MiB pages, signed as in recordings."""
        pool = self.read_pool(self.hstates[0])
        return pool["nr"], pool["free"], pool["resv"], pool["surplus"]

    def task(self, name: str) -> Any:
        """A process."""
        return self.machine.tasks[name]

    def vma(self, proc: str, name: str, page: int = 0) -> Any:
        """The vma of a page of a mapping, or None."""
        mapping = self.task(proc).maps[name]
        return self.vma_lookup(self.task(proc).mm, mapping.start + page * SIZE)

    def pte(self, proc: str, name: str, page: int = 0) -> Any:
        """The page-table entry of a page of a mapping, or None without a slot."""
        mapping = self.task(proc).maps[name]
        slot = self.task(proc).mm.page_table.get(mapping.start + page * SIZE)
        return None if slot is None else slot.pte

    def folio(self, proc: str, name: str, page: int = 0) -> Any:
        """The folio mapped at a page of a mapping, or None."""
        pte = self.pte(proc, name, page)
        return None if pte is None else pte.folio

    def pages(self, proc: str, name: str) -> list[str | None]:
        """What pagemap says of the pages of a mapping, without frame numbers."""
        task = self.task(proc)
        view = self.read_mapping(task, task.maps[name])
        return [None if text is None else text.split(":")[0] for text in view]

    def regions(self, resv: Any) -> list[tuple[int, int]]:
        """The regions of a reservation map."""
        return [(rg.from_, rg.to) for rg in self.list_entries(resv.regions)]

    def effects(self) -> tuple[str, ...]:
        """The calls into the environment since the last call."""
        return self.system.drain_effects()

    def locked(self) -> list[str]:
        """Names of locks that are held, which must be none between operations."""
        held = []
        for task in self.machine.tasks.values():
            mm = task.mm
            if mm.mmap_lock.writer is not None or mm.mmap_lock.readers:
                held.append("mmap_lock")
            held += ["ptl" for slot in mm.page_table.values() if slot.ptl.owner is not None]
            for vma in mm.vmas:
                sem = vma.vm_file.f_mapping.i_mmap_rwsem
                if sem.writer is not None or sem.readers:
                    held.append("i_mmap_rwsem")
                held += ["folio" for folio in vma.vm_file.f_mapping.pages.values() if folio.locked]
                private = vma.vm_private_data
                if private is not None and (private.rw_sema.writer or private.rw_sema.readers):
                    held.append("rw_sema")
        held += ["fault_mutex" for lock in self.hugetlb_fault_mutex_table if lock.owner is not None]
        if self.hugetlb_lock.owner is not None:
            held.append("hugetlb_lock")
        return held
