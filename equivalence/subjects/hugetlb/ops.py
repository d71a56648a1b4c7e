"""The operations on HugeTLB: their arguments, legal values (smallest first) and weights.

Names and arguments are those of the recorded traces (hugetlb-trace/1) and of the recorder's
extensions; operations that no recording has are below them. ``size=1G`` chooses the hstate of 1 GiB
pages where it is legal.
"""

from __future__ import annotations

from typing import Final

from equivalence.subject import OpSpec
from models.schema.trace import NAME, Op, Scalar, TraceError

PROCS: Final = ("A", "B", "C", "D", "E", "F")
MAPS: Final = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")
FDS: Final = ("f1", "f2", "f3", "f4")
MOUNTS: Final = ("h0", "h1", "h2")
FILES: Final = ("x", "y")
CGROUPS: Final = ("g1", "g2")
SHMS: Final = ("s1", "s2")
GUESTS: Final = ("v1", "v2")
PINS: Final = ("p1", "p2")
NODES: Final = (0, 1)
NODESETS: Final = (0, 1, "0,1")
MODES: Final = (
    "default",
    "bind",
    "preferred",
    "preferred_many",
    "interleave",
    "weighted_interleave",
)
SIZES: Final = ("2M", "1G")

PAGES: Final = (0, 1, 2, 3)
LENGTHS: Final = (1, 2, 3, 4)
COUNTS: Final = (0, 1, 2, 3, 4, 5, 6, 7)
LIMITS: Final = (0, 1, 2, 3, 4, "max")
FAILURES: Final = (1, 2, 3)
PERCENT: Final = (0, 50, 100)
WEIGHTS: Final = (0, 1, 2, 3)
#: Frames of 2 MiB from the beginning of a node: pools are filled from there on.
FRAMES: Final = (0, 1, 2, 3, 4, 5, 6, 7)
#: Frames that were looked up, for which no node is given.
FRAME_NAMES: Final = ("k1", "k2")
UFFD_MODES: Final = ("missing", "wp", "minor", "all")
KMALLOCS: Final = (
    "region",
    "resv_map",
    "vma_lock",
    "subpool",
    "raw_hwp",
    "vma",
    "anon_vma",
    "page_table",
)
CHARGES: Final = ("hugetlb", "hugetlb_rsvd", "memory")
COPIES: Final = ("user", "user_atomic", "page")


def _spec(
    kind: str, about: str, weight: int, required: str = "", /, **domains: tuple[Scalar, ...]
) -> OpSpec:
    return OpSpec(kind, domains, frozenset(required.split()), about, weight)


_SPECS: Final = (
    _spec("spawn", "fork of init: a new process without mappings", 6, "id", id=PROCS),
    _spec("fork", "fork(2)", 6, "proc child", proc=PROCS, child=PROCS),
    _spec("exit", "_exit(0)", 3, "proc", proc=PROCS),
    _spec("kill", "SIGKILL", 1, "proc", proc=PROCS),
    _spec(
        "mmap",
        "mmap(2) of huge pages, of a file with fd, else anonymous",
        16,
        "proc map type len",
        proc=PROCS,
        map=MAPS,
        type=("private", "shared"),
        len=LENGTHS,
        fd=FDS,
        off=PAGES,
        noreserve=(1,),
        populate=(1,),
        prot=("rw", "r", "none"),
        size=SIZES,
    ),
    _spec(
        "munmap",
        "munmap(2), of the whole mapping without start and len",
        7,
        "proc map",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
    ),
    _spec(
        "mremap",
        "mremap(2); with 'to' to a new address, else in place",
        2,
        "proc map",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
        new_len=LENGTHS,
        to=MAPS,
    ),
    _spec(
        "mprotect",
        "mprotect(2)",
        1,
        "proc map prot",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
        prot=("rw", "r", "none"),
    ),
    _spec("touch_read", "one load", 8, "proc map page", proc=PROCS, map=MAPS, page=PAGES),
    _spec("touch_write", "one store", 24, "proc map page", proc=PROCS, map=MAPS, page=PAGES),
    _spec(
        "madvise",
        "madvise(2)",
        6,
        "proc map advice",
        proc=PROCS,
        map=MAPS,
        advice=(
            "dontneed",
            "remove",
            "populate_read",
            "populate_write",
            "dontfork",
            "wipeonfork",
            "free",
            "hwpoison",
            "soft_offline",
        ),
        start=PAGES,
        len=LENGTHS,
    ),
    _spec(
        "mbind",
        "mbind(2) with flags 0",
        2,
        "proc map mode",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
        mode=MODES,
        nodes=NODESETS,
    ),
    _spec(
        "set_mempolicy",
        "set_mempolicy(2)",
        2,
        "proc mode",
        proc=PROCS,
        mode=MODES,
        nodes=NODESETS,
    ),
    _spec(
        "migrate_pages",
        "migrate_pages(2) of the process itself",
        1,
        "proc from to",
        proc=PROCS,
        **{"from": NODES, "to": NODES},
    ),
    _spec("sched_setaffinity", "pin the process to a CPU", 1, "proc cpu", proc=PROCS, cpu=NODES),
    _spec(
        "open",
        "open(2) with O_CREAT in a hugetlbfs mount",
        6,
        "proc fd mount name",
        proc=PROCS,
        fd=FDS,
        mount=MOUNTS,
        name=FILES,
    ),
    _spec(
        "memfd_create",
        "memfd_create(2) with MFD_HUGETLB",
        1,
        "proc fd",
        proc=PROCS,
        fd=FDS,
        size=SIZES,
    ),
    _spec("close", "close(2)", 2, "proc fd", proc=PROCS, fd=FDS),
    _spec("ftruncate", "ftruncate(2)", 3, "proc fd len", proc=PROCS, fd=FDS, len=COUNTS),
    _spec(
        "fallocate",
        "fallocate(2)",
        6,
        "proc fd off len",
        proc=PROCS,
        fd=FDS,
        off=PAGES,
        len=LENGTHS,
        mode=("none", "keep_size", "punch_hole", "zero_range", "collapse_range"),
    ),
    _spec("unlink", "unlink(2)", 2, "mount name", mount=MOUNTS, name=FILES),
    _spec(
        "shmget",
        "shmget(2) with SHM_HUGETLB, by init",
        1,
        "shm len",
        shm=SHMS,
        len=LENGTHS,
        noreserve=(1,),
        size=SIZES,
    ),
    _spec("shmat", "shmat(2)", 1, "proc shm map", proc=PROCS, shm=SHMS, map=MAPS),
    _spec("shm_rmid", "shmctl(2) with IPC_RMID", 1, "shm", shm=SHMS),
    _spec(
        "mount",
        "mount hugetlbfs",
        5,
        "mount",
        mount=MOUNTS,
        size=COUNTS,
        min_size=COUNTS,
        pagesize=SIZES,
        size_percent=PERCENT,
        min_size_percent=PERCENT,
        nr_inodes=COUNTS,
    ),
    _spec("umount", "umount2(2) with flags 0", 2, "mount", mount=MOUNTS),
    _spec(
        "set_nr_hugepages",
        "write nr_hugepages, with 'sysctl' the file in /proc/sys/vm",
        4,
        "n",
        n=COUNTS,
        size=SIZES,
        sysctl=(1,),
    ),
    _spec(
        "set_nr_overcommit_hugepages",
        "write nr_overcommit_hugepages, with 'sysctl' the file in /proc/sys/vm",
        2,
        "n",
        n=COUNTS,
        size=SIZES,
        sysctl=(1,),
    ),
    _spec(
        "set_node_nr_hugepages",
        "write a node's nr_hugepages",
        1,
        "node n",
        node=NODES,
        n=COUNTS,
        size=SIZES,
    ),
    _spec(
        "cgroup_create", "make a cgroup with the hugetlb controller", 1, "cgroup", cgroup=CGROUPS
    ),
    _spec("cgroup_rmdir", "remove a cgroup", 1, "cgroup", cgroup=CGROUPS),
    _spec(
        "cgroup_set",
        "write hugetlb.2MB.max or rsvd.max",
        1,
        "cgroup file value",
        cgroup=CGROUPS,
        file=("max", "rsvd.max"),
        value=LIMITS,
        size=SIZES,
    ),
    _spec(
        "cgroup_attach",
        "move a process to a cgroup",
        1,
        "cgroup target",
        cgroup=(*CGROUPS, "/"),
        target=PROCS,
    ),
    _spec(
        "fail_buddy",
        "the next 'count' buddy allocations on the node fail",
        2,
        "node count",
        node=NODES,
        count=FAILURES,
    ),
    _spec(
        "fail_kmalloc",
        "the next 'count' allocations of a kernel structure fail, of file regions without what",
        1,
        "count",
        what=KMALLOCS,
        count=FAILURES,
    ),
    _spec(
        "fail_charge",
        "the next 'count' charges to a cgroup fail, for use of huge pages without what",
        1,
        "count",
        what=CHARGES,
        count=FAILURES,
    ),
    _spec(
        "fail_copy",
        "the next 'count' copies fail, from user space without what",
        1,
        "count",
        what=COPIES,
        count=FAILURES,
    ),
    _spec(
        "pin",
        "pin pages of a mapping for long, as buffers of a ring are",
        1,
        "proc pin map",
        proc=PROCS,
        pin=PINS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
    ),
    _spec("unpin", "unpin what was pinned by a name", 1, "proc pin", proc=PROCS, pin=PINS),
    _spec(
        "memfd_pin_folios",
        "pin pages of a file, allocating what is missing",
        1,
        "proc pin fd len",
        proc=PROCS,
        pin=PINS,
        fd=FDS,
        off=PAGES,
        len=LENGTHS,
    ),
    _spec(
        "uffd_register",
        "UFFDIO_REGISTER of a part of a mapping, for missing pages without mode",
        1,
        "proc map",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
        mode=UFFD_MODES,
    ),
    _spec(
        "uffd_unregister",
        "UFFDIO_UNREGISTER of a part of a mapping",
        1,
        "proc map",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
    ),
    _spec(
        "uffd_copy",
        "UFFDIO_COPY of pages of a mapping, with 'cold' from memory that nobody touched",
        2,
        "proc map page",
        proc=PROCS,
        map=MAPS,
        page=PAGES,
        len=LENGTHS,
        cold=(1,),
        wp=(1,),
    ),
    _spec(
        "uffd_continue",
        "UFFDIO_CONTINUE of pages of a mapping, write-protected with 'wp'",
        1,
        "proc map page",
        proc=PROCS,
        map=MAPS,
        page=PAGES,
        len=LENGTHS,
        wp=(1,),
    ),
    _spec(
        "uffd_poison",
        "UFFDIO_POISON of pages of a mapping",
        1,
        "proc map page",
        proc=PROCS,
        map=MAPS,
        page=PAGES,
        len=LENGTHS,
    ),
    _spec(
        "uffd_writeprotect",
        "UFFDIO_WRITEPROTECT of a part of a mapping, with 'resolve' the end of that",
        1,
        "proc map",
        proc=PROCS,
        map=MAPS,
        start=PAGES,
        len=LENGTHS,
        resolve=(1,),
    ),
    _spec(
        "note_frame",
        "look up where a page is, and remember it by a name",
        1,
        "proc map page frame",
        proc=PROCS,
        map=MAPS,
        page=PAGES,
        frame=FRAME_NAMES,
    ),
    *(
        _spec(kind, about, 1, "frame", node=NODES, frame=(*FRAMES, *FRAME_NAMES))
        for kind, about in (
            ("hard_offline", "a memory error in the first base page of a frame"),
            ("soft_offline", "stop using the first base page of a frame"),
            ("unpoison", "take back the memory error of a frame"),
            ("dissolve", "dissolve the free huge page that has a frame"),
            ("clear_range", "clear a frame of its huge page, for an allocation of a range"),
        )
    ),
    _spec(
        "demote",
        "write demote of the hstate, or of its node",
        1,
        "n",
        n=COUNTS,
        node=NODES,
        size=("1G", "2M"),
    ),
    _spec(
        "set_nr_hugepages_mempolicy",
        "write nr_hugepages_mempolicy, as a process with its policy; with 'sysctl' in /proc/sys/vm",
        1,
        "proc n",
        proc=PROCS,
        n=COUNTS,
        size=SIZES,
        sysctl=(1,),
    ),
    _spec(
        "set_interleave_weight",
        "write a node's weight for weighted interleaving",
        1,
        "node weight",
        node=NODES,
        weight=WEIGHTS,
    ),
    _spec(
        "cgroup_mems",
        "write cpuset.mems of a cgroup; '-' means the parent's",
        1,
        "cgroup nodes",
        cgroup=CGROUPS,
        nodes=(*NODESETS, "-"),
    ),
    _spec(
        "guest_create",
        "make a guest with a file and a subpool of its own, which nobody maps",
        1,
        "guest len",
        guest=GUESTS,
        len=LENGTHS,
        max_size=COUNTS,
        min_size=COUNTS,
        noreserve=(1,),
        size=SIZES,
    ),
    _spec(
        "guest_alloc",
        "allocate one page of a guest",
        3,
        "guest page",
        guest=GUESTS,
        page=PAGES,
        avoid_reserve=(1,),
    ),
    _spec("guest_free", "free one page of a guest", 1, "guest page", guest=GUESTS, page=PAGES),
    _spec("guest_destroy", "end a guest", 1, "guest", guest=GUESTS),
)

OPS: Final[dict[str, OpSpec]] = {spec.kind: spec for spec in _SPECS}


def check_op(op: Op) -> None:
    """Raise unless ``op`` is of a known kind with known and complete arguments.

    Any integer and any name is legal as a value: an operation is legal in any state, and the
    kernel answers for what does not exist.

    Raises:
        TraceError: unknown kind or argument, or one that is missing.
    """
    spec = OPS.get(op.kind)
    if spec is None:
        msg = f"operation {op.kind!r} is unknown; 'equivcheck show ops' lists those that exist"
        raise TraceError(msg)
    for key, value in op.args.items():
        domain = spec.domains.get(key)
        if domain is None:
            msg = f"{op.kind}: argument {key!r} is unknown, expected {', '.join(spec.domains)}"
            raise TraceError(msg)
        _check_value(op.kind, key, value, domain)
    missing = sorted(spec.required - op.args.keys())
    if missing:
        msg = f"{op.kind}: argument {missing[0]!r} is missing"
        raise TraceError(msg)


#: Arguments that are names the trace gives; all other words must be ones that the op knows.
_NAMES: Final = frozenset(
    {
        *("proc", "id", "child", "map", "to", "fd", "mount", "name", "shm"),
        *("cgroup", "target", "nodes", "guest", "pin", "frame"),
    }
)


def _check_value(kind: str, key: str, value: Scalar, domain: tuple[Scalar, ...] | object) -> None:
    assert isinstance(domain, tuple)
    if isinstance(value, str):
        if key in _NAMES and NAME.fullmatch(value):
            return
        if value not in domain:
            words = ", ".join(str(word) for word in domain)
            msg = f"{kind}: {key}={value}: expected one of {words}"
            raise TraceError(msg)
    elif key in _NAMES - {"nodes", "to", "frame"} or not any(
        isinstance(word, int) for word in domain
    ):
        msg = f"{kind}: {key}={value}: expected a name"
        raise TraceError(msg)
