"""HugeTLB as a subject: operations, worlds, invariants, goals, examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from equivalence.subject import (
    Excluded,
    Goal,
    Invariant,
    OpSpec,
    PairText,
    System,
    WorldError,
)
from equivalence.subjects.hugetlb.examples import rare, recorded, written
from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.invariants import INVARIANTS
from equivalence.subjects.hugetlb.observation import USER_SECTIONS
from equivalence.subjects.hugetlb.ops import OPS, check_op
from equivalence.subjects.hugetlb.repro.files import reproduce
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Scalar, Trace

#: World key -> its legal values, smallest first. Counts are huge pages.
WORLDS: Final[dict[str, tuple[Scalar, ...]]] = {
    "nodes": (1, 2),
    "hstates": ("2M", "2M,1G"),
    "nr_hugepages": tuple(range(9)),
    "nr_overcommit_hugepages": tuple(range(5)),
    "nr_hugepages_1g": (0, 1, 2, 3),
    "nr_overcommit_hugepages_1g": (0, 1, 2),
    "node_mb": (512, 2048, 4096),
    "memory_hugetlb_accounting": (0, 1),
}
#: Largest value of a world's counts: enough for any study, small enough to boot at once.
MAX_COUNT: Final = 100_000


def _reached_errno(errno: str, kind: str) -> Goal:
    def reached(op: Op, outcome: Outcome) -> bool:
        return outcome.errno == errno

    return Goal(f"{kind} fails with {errno}", f"{kind} returned -1 with {errno}", reached, kind)


def _sigbus(op: Op, outcome: Outcome) -> bool:
    return outcome.signal == "SIGBUS"


def _success(op: Op, outcome: Outcome) -> bool:
    return outcome.ret == 0


GOALS: Final = (
    Goal("mmap succeeds", "a mapping was made", _success, "mmap", required=True),
    Goal("write succeeds", "a page was written", _success, "touch_write", required=True),
    _reached_errno("ENOMEM", "mmap"),
    _reached_errno("ENOMEM", "mount"),
    _reached_errno("EBUSY", "umount"),
    _reached_errno("ENOSPC", "fallocate"),
    _reached_errno("EBUSY", "cgroup_rmdir"),
    Goal("write fault ends in SIGBUS", "no page for a write", _sigbus, "touch_write"),
    Goal("read fault ends in SIGBUS", "no page for a read", _sigbus, "touch_read"),
    *(
        Goal(f"{kind} succeeds", f"{kind} returned 0", _success, kind)
        for kind in ("fork", "munmap", "open", "unlink", "exit", "mount", "umount")
    ),
)

EXCLUDED: Final = (
    Excluded(
        "folios", "pfn", "the buddy allocator chooses the frame (mm/page_alloc.c), not HugeTLB"
    ),
    Excluded(
        "page_tables",
        "young",
        "the accessed bit is set by the processor and read by nothing on these paths",
    ),
    Excluded(
        "inodes", "timestamps", "inode_set_ctime_current() and the like; time is not modelled"
    ),
)


#: Never run together with others: what orders them in the kernel (locks of directories, of the
#: mount tree, of the list of processes, of cgroups) is not modelled.
ALONE: Final = frozenset(
    {
        "cgroup_attach",
        "cgroup_create",
        "cgroup_rmdir",
        "cgroup_set",
        "close",
        "memfd_create",
        "mount",
        "open",
        "shm_rmid",
        "shmat",
        "shmget",
        "spawn",
        "umount",
        "unlink",
    }
)


class HugetlbSubject:
    """The subject ``hugetlb``."""

    name = "hugetlb"
    ops: Mapping[str, OpSpec] = OPS
    worlds: Mapping[str, Sequence[Scalar]] = WORLDS
    invariants: Sequence[Invariant] = INVARIANTS
    goals: Sequence[Goal] = GOALS
    user_sections = frozenset(USER_SECTIONS)
    excluded: Sequence[Excluded] = EXCLUDED

    def generator(self) -> HugetlbGenerator:
        """A fresh generator."""
        return HugetlbGenerator()

    def check_world(self, world: Args) -> None:
        """Raise :class:`WorldError` unless ``world`` is one that can boot."""
        for key, value in world.items():
            domain = WORLDS.get(key)
            if domain is None:
                msg = f"world: key {key!r} is unknown, expected {', '.join(WORLDS)}"
                raise WorldError(msg)
            if isinstance(domain[0], int):
                few = key in ("nodes", "memory_hugetlb_accounting")
                low, high = (domain[0], domain[-1]) if few else (0, MAX_COUNT)
                if not isinstance(value, int) or not low <= value <= int(high):
                    msg = f"world: {key}={value}, expected an integer from {low} to {high}"
                    raise WorldError(msg)
            elif value not in domain:
                msg = f"world: {key}={value}, expected one of {' '.join(map(str, domain))}"
                raise WorldError(msg)
        if world.get("hstates") != "2M,1G" and any(key.endswith("_1g") for key in world):
            msg = "world: counts of 1G pages need hstates=2M,1G"
            raise WorldError(msg)

    def check_op(self, op: Op) -> None:
        """Raise ``TraceError`` unless ``op`` is of a known kind with known arguments."""
        check_op(op)

    def task_of(self, op: Op) -> str | None:
        """The process that runs an operation (the first one has no name); None: runs alone."""
        return None if op.kind in ALONE else str(op.args.get("proc", ""))

    def examples(self) -> Iterable[Trace]:
        """Traces that every run replays first: those written out, recordings, and rare ones."""
        return (*written(), *recorded(), *rare())

    def reproducers(
        self, trace: Trace, systems: tuple[System, System], told: PairText
    ) -> Mapping[str, str]:
        """A C program for a real kernel, and a test that replays the trace on the ports."""
        return reproduce(trace, systems, told, "repro").files()
