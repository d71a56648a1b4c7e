"""Draws worlds and operations for HugeTLB.

Reservation bugs live where a counter is exactly enough or one short, so pools, limits and lengths
are drawn small and close to each other. Each trace draws its own weights for the kinds of
operation (most kinds keep theirs, some are left out, some are favoured), so that rare kinds meet
often in some traces. The generator remembers which names are in play from the outcomes it is told,
and now and then uses one that is not.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random
from typing import Any, TypeVar

from equivalence.subjects.hugetlb.ops import (
    CGROUPS,
    CHARGES,
    COPIES,
    FDS,
    FILES,
    FRAME_NAMES,
    GUESTS,
    KMALLOCS,
    MAPS,
    MODES,
    MOUNTS,
    NODESETS,
    OPS,
    PINS,
    PROCS,
    SHMS,
    UFFD_MODES,
)
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Scalar

T = TypeVar("T")

#: A kind's weight in one trace is its own times one of these.
_FACTORS = (0.0, 0.5, 1.0, 1.0, 1.0, 3.0)
#: Kinds that need each other: a trace has a whole group (share of traces, weight then), or none.
_GROUPS: tuple[tuple[float, float, tuple[str, ...]], ...] = (
    (0.4, 2.5, ("cgroup_create", "cgroup_set", "cgroup_attach", "cgroup_rmdir")),
    (0.5, 2.0, ("set_mempolicy", "mbind", "migrate_pages", "sched_setaffinity")),
    (0.15, 2.0, ("set_nr_hugepages_mempolicy", "set_interleave_weight")),
    (0.15, 8.0, ("cgroup_attach", "cgroup_mems")),
    (0.15, 4.0, ("uffd_register", "uffd_copy", "uffd_continue", "uffd_poison", "fail_copy")),
    (0.15, 1.0, ("uffd_unregister",)),
    (0.1, 5.0, ("uffd_writeprotect", "uffd_register")),
    (0.25, 5.0, ("pin", "unpin", "memfd_pin_folios")),
    (0.12, 3.0, ("hard_offline", "soft_offline", "unpoison", "note_frame")),
    (0.15, 4.0, ("dissolve", "clear_range", "demote")),
    (0.12, 4.0, ("guest_create", "guest_alloc", "guest_free", "guest_destroy")),
    (0.25, 3.0, ("fail_kmalloc", "fail_charge", "fail_copy")),
)
#: Without these no trace gets anywhere.
_KEPT = frozenset({"spawn", "mmap", "touch_write"})

#: What often comes next after one that succeeded, so that short chains are not left to chance.
_THEN: dict[str, tuple[str, ...]] = {
    "open": ("mmap", "mmap", "fallocate"),
    "memfd_create": ("mmap", "fallocate", "ftruncate", "memfd_pin_folios"),
    "fallocate": ("mmap", "mmap", "touch_read", "fallocate"),
    "mmap": ("touch_write", "touch_read", "pin"),
    "shmget": ("shmat",),
    "shmat": ("touch_write", "touch_read"),
    "fork": ("touch_write", "touch_write", "munmap"),
    "munmap": ("munmap", "touch_write"),
    "mremap": ("munmap", "touch_write"),
    "set_mempolicy": ("mmap", "touch_write"),
    "mbind": ("touch_write",),
    "migrate_pages": ("munmap", "touch_write"),
    "cgroup_create": ("cgroup_attach", "cgroup_attach", "cgroup_set", "cgroup_mems"),
    "cgroup_attach": ("mmap", "mmap", "cgroup_set", "cgroup_mems"),
    "cgroup_set": ("mmap", "touch_write"),
    "cgroup_mems": ("cgroup_attach", "mmap", "touch_write"),
    "pin": ("fork", "fork", "fork", "fork", "touch_write"),
    "uffd_register": (
        *("uffd_copy", "uffd_copy", "uffd_continue", "uffd_poison"),
        *("fail_copy", "uffd_writeprotect"),
    ),
    "uffd_writeprotect": ("touch_write", "fork", "munmap", "uffd_writeprotect"),
    "fail_copy": ("uffd_copy", "uffd_copy", "fork"),
    "fail_kmalloc": ("fallocate", "fallocate", "mmap", "munmap", "madvise", "touch_write"),
    "fail_charge": ("mmap", "touch_write"),
    "fail_buddy": ("touch_write", "mmap"),
    "guest_create": ("guest_alloc",),
    "guest_alloc": ("guest_alloc", "guest_free"),
    "hard_offline": ("mmap", "touch_write"),
    "note_frame": ("munmap", "soft_offline", "hard_offline", "madvise", "exit"),
}
_THEN_SHARE = 0.35
#: What is made only for what comes next.
_THEN_SHARES = {"pin": 0.8}

#: What must be in play for a kind of operation to do anything (else: a process).
_NEEDS = {
    **dict.fromkeys(("mount", "set_nr_hugepages", "set_nr_overcommit_hugepages"), "nothing"),
    **dict.fromkeys(("set_node_nr_hugepages", "cgroup_create", "shmget", "fail_buddy"), "nothing"),
    **dict.fromkeys(("munmap", "mremap", "mprotect", "madvise", "mbind"), "mapping"),
    **dict.fromkeys(("touch_read", "touch_write"), "mapping"),
    **dict.fromkeys(("close", "ftruncate", "fallocate"), "file"),
    **dict.fromkeys(("open", "unlink", "umount"), "mount"),
    **dict.fromkeys(("cgroup_set", "cgroup_attach", "cgroup_rmdir"), "cgroup"),
    **dict.fromkeys(("shmat", "shm_rmid"), "shm"),
    **dict.fromkeys(("fail_kmalloc", "fail_charge", "fail_copy"), "nothing"),
    **dict.fromkeys(("demote", "dissolve", "clear_range"), "nothing"),
    **dict.fromkeys(("hard_offline", "soft_offline", "unpoison"), "nothing"),
    **dict.fromkeys(("set_interleave_weight", "guest_create"), "nothing"),
    "note_frame": "mapping",
    **dict.fromkeys(("pin", "uffd_register", "uffd_unregister"), "mapping"),
    **dict.fromkeys(("uffd_copy", "uffd_continue", "uffd_poison"), "watched"),
    "uffd_writeprotect": "watched",
    "memfd_pin_folios": "file",
    "cgroup_mems": "cgroup",
    **dict.fromkeys(("guest_alloc", "guest_free", "guest_destroy"), "guest"),
}


class _Process:
    """Names in play in one process: mapping -> length in huge pages, and open files."""

    __slots__ = ("fds", "maps")

    def __init__(self) -> None:
        self.maps: dict[str, int] = {}
        self.fds: list[str] = []


class HugetlbGenerator:
    """The subject's generator."""

    def __init__(self, kinds: Sequence[str] | None = None) -> None:
        self._kinds = tuple(kinds if kinds is not None else OPS)
        self._draws: dict[str, Callable[[], dict[str, Scalar]]] = {
            kind: getattr(self, f"_{kind}") for kind in self._kinds
        }
        self._base = [(kind, OPS[kind].weight, kind in _KEPT) for kind in self._kinds]
        self._started = False

    def world(self, rng: Random) -> Args:
        """A small pool, often on two nodes, sometimes with overcommit or 1 GiB pages beside it."""
        random = rng.random
        world: dict[str, Scalar] = {
            "nodes": 2 if random() < 0.7 else 1,
            "nr_hugepages": (0, 1, 2, 2, 3, 3, 4, 4, 5, 6)[int(random() * 10)],
            "nr_overcommit_hugepages": (0, 0, 0, 1, 2, 4)[int(random() * 6)],
        }
        if random() < 0.1:
            world["hstates"] = "2M,1G"
            world["nr_hugepages_1g"] = int(random() * 3)
        if random() < 0.1:
            world["memory_hugetlb_accounting"] = 1
        return world

    def start(self, world: Args) -> None:
        """Forget all names; the first draw of the trace chooses its weights."""
        self._procs: dict[str, _Process] = {}
        self._mounts: list[str] = []
        self._cgroups: list[str] = []
        self._shms: list[str] = []
        self._guests: list[str] = []
        #: Process and mapping that userfaultfd was registered for last.
        self._watched: tuple[str, str] | None = None
        #: Process and name of the last pin.
        self._pinned: tuple[str, str] | None = None
        #: Frames that were looked up.
        self._noted: set[str] = set()
        self._giant = "1G" in str(world.get("hstates", ""))
        #: Kinds without which the world would be made in vain.
        self._favoured: list[str] = ["demote"] if self._giant else []
        if world.get("memory_hugetlb_accounting"):
            self._favoured += ["cgroup_create", "cgroup_attach", "fail_charge"]
        self._prologue = 0
        self._last = ""
        self._started = False

    def op(self, rng: Random, kind: str | None = None) -> Op:
        """The next operation, of the given kind if one is given."""
        if not self._started:
            self._begin(rng)
        self._random = rng.random
        if kind is not None:
            return Op(kind, self._draws[kind]())
        if self._prologue:
            self._prologue -= 1
            kind = "spawn" if not self._procs else ("mount", "open")[self._prologue % 2]
            if kind not in self._draws:
                kind = "spawn"
        else:
            kind = self._possible(self._following() or self._by_weight())
        return Op(kind, self._draws[kind]())

    def _by_weight(self) -> str:
        return self._kinds[bisect(self._weights, self._random() * self._total)]

    def _following(self) -> str:
        """Now and then what often follows the last success, if this trace has it; or ""."""
        then = _THEN.get(self._last)
        if then is None or self._random() > _THEN_SHARES.get(self._last, _THEN_SHARE):
            return ""
        kind = self._pick(then)
        return kind if kind in self._present else ""

    def _possible(self, kind: str) -> str:
        """Mostly, what an operation needs first: without a mapping, say, ``mmap`` for a touch."""
        if self._random() < 0.03:
            return kind
        need = _NEEDS.get(kind, "")
        if not self._procs and need != "nothing":
            kind = "spawn"
        elif need == "mapping" and not any(p.maps for p in self._procs.values()):
            kind = "mmap"
        elif need == "file" and not any(p.fds for p in self._procs.values()):
            kind = "open" if self._mounts else "mount"
        elif need == "mount" and not self._mounts:
            kind = "mount"
        elif need == "cgroup" and not self._cgroups:
            kind = "cgroup_create"
        elif need == "shm" and not self._shms:
            kind = "shmget"
        elif need == "guest" and not self._guests:
            kind = "guest_create"
        elif need == "watched" and self._watched is None:
            kind = "uffd_register"
        return kind if kind in self._draws else "spawn"

    def saw(self, op: Op, outcome: Outcome) -> None:
        """Keep the names in play: what an operation made or ended, if it succeeded."""
        if outcome.ret != 0:
            self._last = ""
            return
        self._last = op.kind
        note = _NOTES.get(op.kind)
        if note is not None:
            note(self, op.args)

    def mark(self) -> object:
        """The names in play now."""
        procs = {name: (dict(one.maps), list(one.fds)) for name, one in self._procs.items()}
        lists = [list(names) for names in self._lists()]
        return procs, lists, self._watched, self._pinned, self._last

    def back(self, mark: Any) -> None:
        """Remember the names that were in play at the mark."""
        procs, lists, self._watched, self._pinned, self._last = mark
        self._procs = {}
        for name, (maps, fds) in procs.items():
            self._procs[name] = process = _Process()
            process.maps, process.fds = maps, fds
        for names, before in zip(self._lists(), lists, strict=True):
            names[:] = before

    def _lists(self) -> tuple[list[str], ...]:
        return self._mounts, self._cgroups, self._shms, self._guests

    def _begin(self, rng: Random) -> None:
        random = rng.random
        groups: dict[str, float] = {}
        for share, weight, kinds in _GROUPS:
            factor = weight if random() < share else 0.0
            for kind in kinds:
                groups[kind] = max(factor, groups.get(kind, 0.0))
        for kind in self._favoured:
            groups[kind] = 4.0
        factors, count, grouped = _FACTORS, len(_FACTORS), groups.get
        weights = [
            weight * grouped(kind, 1.0) * (1.0 if kept else factors[int(random() * count)])
            for kind, weight, kept in self._base
        ]
        self._present = {k for k, w in zip(self._kinds, weights, strict=True) if w}
        self._weights = list(accumulate(weights))
        self._total = self._weights[-1]
        self._prologue = (1, 1, 3, 3, 3)[int(random() * 5)]
        self._lone = random() < 0.3
        self._started = True

    # Drawing values: one call of random() each, as the sampler's cost is counted against the ops.

    def _pick(self, values: Sequence[T]) -> T:
        return values[int(self._random() * len(values))]

    def _known(self, names: Sequence[str], every: Sequence[str]) -> str:
        """A name in play nine times in ten."""
        if names and self._random() < 0.95:
            return names[int(self._random() * len(names))]
        return every[int(self._random() * len(every))]

    def _fresh(
        self, names: Sequence[str] | dict[str, _Process] | dict[str, int], every: Sequence[str]
    ) -> str:
        """A name not in play, if there is one left."""
        for name in every:
            if name not in names:
                return name
        return self._pick(every)

    def _proc(self) -> str:
        if self._lone and self._procs:
            return next(iter(self._procs))
        return self._known(tuple(self._procs), PROCS)

    def _mapping(self) -> tuple[str, str, int]:
        """Process, mapping and its length; one that exists, mostly, and the newest more often."""
        proc = self._proc()
        process = self._procs.get(proc)
        if process is None or not process.maps:
            for name, other in self._procs.items():
                if other.maps:
                    proc, process = name, other
                    break
            else:
                return proc, self._pick(MAPS), 1
        names = tuple(process.maps)
        name = names[-1] if self._random() < 0.4 else names[int(self._random() * len(names))]
        return proc, name, process.maps[name]

    def _length(self) -> int:
        return (1, 1, 2, 2, 3, 4)[int(self._random() * 6)]

    def _file(self) -> tuple[str, str]:
        proc = self._proc()
        process = self._procs.get(proc)
        if process is None or not process.fds:
            for name, other in self._procs.items():
                if other.fds:
                    return name, self._pick(other.fds)
            return proc, self._pick(FDS)
        return proc, self._pick(process.fds)

    def _range(self, length: int) -> dict[str, Scalar]:
        """All of a mapping, or some pages of it."""
        if self._random() < 0.5:
            return {"start": 0, "len": length}
        start = int(self._random() * length)
        return {"start": start, "len": 1 + int(self._random() * (length - start))}

    def _maybe_giant(self, args: dict[str, Scalar], key: str = "size") -> dict[str, Scalar]:
        if self._giant and self._random() < 0.3:
            args[key] = "1G"
        return args

    def _maybe_sysctl(self, args: dict[str, Scalar]) -> dict[str, Scalar]:
        """Of the default size, now and then by the older file."""
        if self._random() < 0.05:
            return {**args, "sysctl": 1}
        return self._maybe_giant(args)

    # One method for each kind of operation.

    def _spawn(self) -> dict[str, Scalar]:
        return {"id": self._fresh(self._procs, PROCS)}

    def _fork(self) -> dict[str, Scalar]:
        return {"proc": self._proc(), "child": self._fresh(self._procs, PROCS)}

    def _exit(self) -> dict[str, Scalar]:
        return {"proc": self._proc()}

    _kill = _exit

    def _mmap(self) -> dict[str, Scalar]:
        random = self._random
        proc, fd = self._file()
        process = self._procs.get(proc)
        name = self._fresh(process.maps if process else {}, MAPS)
        args: dict[str, Scalar] = {
            "proc": proc,
            "map": name,
            "type": "private" if random() < 0.55 else "shared",
            "len": self._length(),
        }
        if process is not None and process.fds and random() < 0.7:
            args["fd"] = fd
            args["off"] = (0, 0, 0, 1, 2)[int(random() * 5)]
        if random() < 0.25:
            args["noreserve"] = 1
        if random() < 0.08:
            args["populate"] = 1
        if random() < 0.06:
            args["prot"] = "r" if random() < 0.7 else "none"
        if "fd" not in args:
            self._maybe_giant(args)
        return args

    def _munmap(self) -> dict[str, Scalar]:
        proc, name, length = self._mapping()
        args: dict[str, Scalar] = {"proc": proc, "map": name}
        if length > 1 and self._random() < 0.4:
            args.update(self._range(length))
        return args

    def _mremap(self) -> dict[str, Scalar]:
        proc, name, length = self._mapping()
        args: dict[str, Scalar] = {"proc": proc, "map": name, **self._range(length)}
        args["new_len"] = args["len"] if self._random() < 0.6 else self._length()
        if self._random() < 0.7:
            process = self._procs.get(proc)
            args["to"] = self._fresh(process.maps if process else {}, MAPS)
        return args

    def _mprotect(self) -> dict[str, Scalar]:
        proc, name, length = self._mapping()
        return {
            "proc": proc,
            "map": name,
            **self._range(length),
            "prot": self._pick(("rw", "r", "none")),
        }

    def _touch_read(self) -> dict[str, Scalar]:
        proc, name, length = self._mapping()
        page = int(self._random() * length) if self._random() < 0.97 else length
        return {"proc": proc, "map": name, "page": page}

    _touch_write = _touch_read

    def _madvise(self) -> dict[str, Scalar]:
        proc, name, length = self._mapping()
        advice = self._pick(
            (
                "dontneed",
                "dontneed",
                "dontneed",
                "remove",
                "remove",
                "populate_read",
                "populate_write",
            )
            if self._random() < 0.93
            else ("dontfork", "wipeonfork", "free")
        )
        if self._random() < 0.02:
            advice = self._pick(("hwpoison", "soft_offline"))
        return {"proc": proc, "map": name, "advice": advice, **self._range(length)}

    def _policy(self) -> dict[str, Scalar]:
        mode = self._pick(MODES)
        args: dict[str, Scalar] = {"mode": mode}
        if mode != "default":
            nodes: Scalar = NODESETS[int(self._random() * len(NODESETS))]
            args["nodes"] = nodes
        return args

    def _mbind(self) -> dict[str, Scalar]:
        proc, name, length = self._mapping()
        return {"proc": proc, "map": name, **self._range(length), **self._policy()}

    def _set_mempolicy(self) -> dict[str, Scalar]:
        return {"proc": self._proc(), **self._policy()}

    def _migrate_pages(self) -> dict[str, Scalar]:
        source = int(self._random() * 2)
        return {"proc": self._proc(), "from": source, "to": 1 - source}

    def _sched_setaffinity(self) -> dict[str, Scalar]:
        return {"proc": self._proc(), "cpu": int(self._random() * 2)}

    def _open(self) -> dict[str, Scalar]:
        proc = self._proc()
        process = self._procs.get(proc)
        return {
            "proc": proc,
            "fd": self._fresh(process.fds if process else (), FDS),
            "mount": self._known(self._mounts, MOUNTS),
            "name": self._pick(FILES) if self._random() < 0.5 else FILES[0],
        }

    def _memfd_create(self) -> dict[str, Scalar]:
        proc = self._proc()
        process = self._procs.get(proc)
        args: dict[str, Scalar] = {
            "proc": proc,
            "fd": self._fresh(process.fds if process else (), FDS),
        }
        return self._maybe_giant(args)

    def _close(self) -> dict[str, Scalar]:
        proc, fd = self._file()
        return {"proc": proc, "fd": fd}

    def _ftruncate(self) -> dict[str, Scalar]:
        proc, fd = self._file()
        return {"proc": proc, "fd": fd, "len": (0, 0, 1, 2, 3, 4)[int(self._random() * 6)]}

    def _fallocate(self) -> dict[str, Scalar]:
        proc, fd = self._file()
        args: dict[str, Scalar] = {
            "proc": proc,
            "fd": fd,
            "off": int(self._random() * 4) if self._random() < 0.6 else 0,
            "len": self._length(),
        }
        draw = self._random()
        if self._last == "fail_kmalloc" and draw < 0.8:
            # A hole in the middle of a region needs a second one.
            args.update(off=1, len=1, mode="punch_hole")
        elif draw < 0.45:
            args["mode"] = "punch_hole"
        elif draw < 0.55:
            args["mode"] = "keep_size"
        elif draw < 0.57:
            args["mode"] = "zero_range" if draw < 0.56 else "collapse_range"
        return args

    def _unlink(self) -> dict[str, Scalar]:
        return {"mount": self._known(self._mounts, MOUNTS), "name": self._pick(FILES)}

    def _shmget(self) -> dict[str, Scalar]:
        args: dict[str, Scalar] = {"shm": self._fresh(self._shms, SHMS), "len": self._length()}
        if self._random() < 0.3:
            args["noreserve"] = 1
        return self._maybe_giant(args)

    def _shmat(self) -> dict[str, Scalar]:
        proc = self._proc()
        process = self._procs.get(proc)
        name = self._fresh(process.maps if process else {}, MAPS)
        return {"proc": proc, "shm": self._known(self._shms, SHMS), "map": name}

    def _shm_rmid(self) -> dict[str, Scalar]:
        return {"shm": self._known(self._shms, SHMS)}

    def _mount(self) -> dict[str, Scalar]:
        args: dict[str, Scalar] = {"mount": self._fresh(self._mounts, MOUNTS)}
        random = self._random
        if random() < 0.5:
            args["size"] = 1 + int(random() * 4)
        if random() < 0.5:
            args["min_size"] = 1 + int(random() * 3)
        if random() < 0.05:
            args["nr_inodes"] = 1 + int(random() * 3)
        if random() < 0.05:
            key = "size_percent" if random() < 0.5 else "min_size_percent"
            args[key] = 50 if random() < 0.5 else 100
        return self._maybe_giant(args, "pagesize")

    def _umount(self) -> dict[str, Scalar]:
        return {"mount": self._known(self._mounts, MOUNTS)}

    def _set_nr_hugepages(self) -> dict[str, Scalar]:
        return self._maybe_sysctl({"n": int(self._random() * 7)})

    def _set_nr_overcommit_hugepages(self) -> dict[str, Scalar]:
        return self._maybe_sysctl({"n": (0, 0, 1, 2, 3)[int(self._random() * 5)]})

    def _set_node_nr_hugepages(self) -> dict[str, Scalar]:
        return self._maybe_giant({"node": int(self._random() * 2), "n": int(self._random() * 4)})

    def _cgroup_create(self) -> dict[str, Scalar]:
        return {"cgroup": self._fresh(self._cgroups, CGROUPS)}

    def _cgroup_rmdir(self) -> dict[str, Scalar]:
        return {"cgroup": self._known(self._cgroups, CGROUPS)}

    def _cgroup_set(self) -> dict[str, Scalar]:
        value: Scalar = "max" if self._random() < 0.15 else int(self._random() * 5)
        return {
            "cgroup": self._known(self._cgroups, CGROUPS),
            "file": "max" if self._random() < 0.5 else "rsvd.max",
            "value": value,
        }

    def _cgroup_attach(self) -> dict[str, Scalar]:
        target = "/" if self._random() < 0.2 else self._known(self._cgroups, CGROUPS)
        return {"cgroup": target, "target": self._proc()}

    def _fail_buddy(self) -> dict[str, Scalar]:
        return {"node": int(self._random() * 2), "count": 1 + int(self._random() * 2)}

    def _failure(self, words: Sequence[str]) -> dict[str, Scalar]:
        """Half of the time what fails by default, most often once."""
        args: dict[str, Scalar] = {"count": 1 if self._random() < 0.7 else 2}
        if self._random() < 0.5:
            args["what"] = self._pick(words)
        return args

    def _fail_kmalloc(self) -> dict[str, Scalar]:
        return self._failure(KMALLOCS)

    def _fail_charge(self) -> dict[str, Scalar]:
        return self._failure(CHARGES)

    def _fail_copy(self) -> dict[str, Scalar]:
        return self._failure(COPIES)

    def _part(self) -> dict[str, Scalar]:
        """A mapping, and mostly the whole of it."""
        proc, name, length = self._mapping()
        args: dict[str, Scalar] = {"proc": proc, "map": name}
        if length > 1 and self._random() < 0.4:
            args.update(self._range(length))
        return args

    def _pin(self) -> dict[str, Scalar]:
        return {"pin": self._pick(PINS), **self._part()}

    def _unpin(self) -> dict[str, Scalar]:
        if self._pinned is None or self._random() < 0.1:
            return {"proc": self._proc(), "pin": self._pick(PINS)}
        proc, pin = self._pinned
        return {"proc": proc, "pin": pin}

    def _memfd_pin_folios(self) -> dict[str, Scalar]:
        proc, fd = self._file()
        return {
            "proc": proc,
            "pin": self._pick(PINS),
            "fd": fd,
            "off": int(self._random() * 3),
            "len": self._length(),
        }

    def _uffd_register(self) -> dict[str, Scalar]:
        args = self._part()
        if self._random() < 0.6:
            args["mode"] = self._pick(UFFD_MODES)
        return args

    _uffd_unregister = _part

    def _filled(self) -> dict[str, Scalar]:
        """Into what userfaultfd watches, mostly; one page or all."""
        watched = self._watched
        if watched is None or self._random() < 0.1:
            proc, name, length = self._mapping()
        else:
            proc, name = watched
            process = self._procs.get(proc)
            length = process.maps.get(name, 1) if process is not None else 1
        if length > 1 and self._random() < 0.3:
            return {"proc": proc, "map": name, "page": 0, "len": length}
        return {"proc": proc, "map": name, "page": int(self._random() * length)}

    _uffd_poison = _filled

    def _uffd_continue(self) -> dict[str, Scalar]:
        args = self._filled()
        if self._random() < 0.15:
            args["wp"] = 1
        return args

    def _uffd_writeprotect(self) -> dict[str, Scalar]:
        args = self._filled()
        args["start"] = args.pop("page")
        args.setdefault("len", 1)
        if self._random() < 0.3:
            args["resolve"] = 1
        return args

    def _uffd_copy(self) -> dict[str, Scalar]:
        args = self._uffd_continue()
        if self._random() < 0.3:
            args["cold"] = 1
        return args

    def _frame(self) -> dict[str, Scalar]:
        """A frame that was looked up, or one of the first of a node, where the pool's pages are."""
        if self._noted and self._random() < 0.6:
            return {"frame": self._pick(sorted(self._noted))}
        return {"node": int(self._random() * 2), "frame": int(self._random() * 4)}

    def _note_frame(self) -> dict[str, Scalar]:
        return {**self._touch_read(), "frame": self._pick(FRAME_NAMES)}

    _hard_offline = _frame
    _soft_offline = _frame
    _unpoison = _frame
    _dissolve = _frame
    _clear_range = _frame

    def _demote(self) -> dict[str, Scalar]:
        args: dict[str, Scalar] = {"n": 1 + int(self._random() * 2)}
        if self._random() < 0.3:
            args["node"] = int(self._random() * 2)
        return args

    def _set_nr_hugepages_mempolicy(self) -> dict[str, Scalar]:
        return self._maybe_sysctl({"proc": self._proc(), "n": int(self._random() * 7)})

    def _set_interleave_weight(self) -> dict[str, Scalar]:
        return {"node": int(self._random() * 2), "weight": int(self._random() * 4)}

    def _cgroup_mems(self) -> dict[str, Scalar]:
        nodes: Scalar = (0, 1, 1, "0,1", "-")[int(self._random() * 5)]
        return {"cgroup": self._known(self._cgroups, CGROUPS), "nodes": nodes}

    def _guest_create(self) -> dict[str, Scalar]:
        args: dict[str, Scalar] = {
            "guest": self._fresh(self._guests, GUESTS),
            "len": self._length(),
        }
        if self._random() < 0.5:
            args["min_size"] = int(self._random() * 4)
        if self._random() < 0.3:
            args["noreserve"] = 1
        return self._maybe_giant(args)

    def _guest_alloc(self) -> dict[str, Scalar]:
        args = self._guest_free()
        if self._random() < 0.2:
            args["avoid_reserve"] = 1
        return args

    def _guest_free(self) -> dict[str, Scalar]:
        return {"guest": self._known(self._guests, GUESTS), "page": int(self._random() * 3)}

    def _guest_destroy(self) -> dict[str, Scalar]:
        return {"guest": self._known(self._guests, GUESTS)}

    # What a success tells about the names in play.

    def _saw_spawn(self, args: Args) -> None:
        self._procs[str(args["id"])] = _Process()

    def _saw_fork(self, args: Args) -> None:
        parent = self._procs.get(str(args["proc"]))
        child = _Process()
        if parent is not None:
            child.maps.update(parent.maps)
            child.fds.extend(parent.fds)
        self._procs[str(args["child"])] = child

    def _saw_exit(self, args: Args) -> None:
        self._procs.pop(str(args["proc"]), None)

    def _saw_mmap(self, args: Args) -> None:
        process = self._procs.get(str(args["proc"]))
        if process is not None:
            process.maps[str(args["map"])] = int(args.get("len", 1))

    def _saw_munmap(self, args: Args) -> None:
        process = self._procs.get(str(args["proc"]))
        if process is not None and "len" not in args:
            process.maps.pop(str(args["map"]), None)

    def _saw_mremap(self, args: Args) -> None:
        process = self._procs.get(str(args["proc"]))
        if process is not None and "to" in args:
            process.maps[str(args["to"])] = int(args.get("new_len", args.get("len", 1)))

    def _saw_open(self, args: Args) -> None:
        process = self._procs.get(str(args["proc"]))
        if process is not None and args["fd"] not in process.fds:
            process.fds.append(str(args["fd"]))

    def _saw_close(self, args: Args) -> None:
        process = self._procs.get(str(args["proc"]))
        if process is not None and args["fd"] in process.fds:
            process.fds.remove(str(args["fd"]))

    def _saw_mount(self, args: Args) -> None:
        if args["mount"] not in self._mounts:
            self._mounts.append(str(args["mount"]))

    def _saw_umount(self, args: Args) -> None:
        if args["mount"] in self._mounts:
            self._mounts.remove(str(args["mount"]))

    def _saw_cgroup_create(self, args: Args) -> None:
        if args["cgroup"] not in self._cgroups:
            self._cgroups.append(str(args["cgroup"]))

    def _saw_cgroup_rmdir(self, args: Args) -> None:
        if args["cgroup"] in self._cgroups:
            self._cgroups.remove(str(args["cgroup"]))

    def _saw_shmget(self, args: Args) -> None:
        if args["shm"] not in self._shms:
            self._shms.append(str(args["shm"]))

    def _saw_pin(self, args: Args) -> None:
        self._pinned = str(args["proc"]), str(args["pin"])

    def _saw_note_frame(self, args: Args) -> None:
        self._noted.add(str(args["frame"]))

    def _saw_uffd_register(self, args: Args) -> None:
        self._watched = str(args["proc"]), str(args["map"])

    def _saw_guest_create(self, args: Args) -> None:
        if args["guest"] not in self._guests:
            self._guests.append(str(args["guest"]))

    def _saw_guest_destroy(self, args: Args) -> None:
        if args["guest"] in self._guests:
            self._guests.remove(str(args["guest"]))


_NOTES: dict[str, Callable[[HugetlbGenerator, Args], None]] = {
    "spawn": HugetlbGenerator._saw_spawn,
    "fork": HugetlbGenerator._saw_fork,
    "exit": HugetlbGenerator._saw_exit,
    "kill": HugetlbGenerator._saw_exit,
    "mmap": HugetlbGenerator._saw_mmap,
    "shmat": HugetlbGenerator._saw_mmap,
    "munmap": HugetlbGenerator._saw_munmap,
    "mremap": HugetlbGenerator._saw_mremap,
    "open": HugetlbGenerator._saw_open,
    "memfd_create": HugetlbGenerator._saw_open,
    "close": HugetlbGenerator._saw_close,
    "mount": HugetlbGenerator._saw_mount,
    "umount": HugetlbGenerator._saw_umount,
    "cgroup_create": HugetlbGenerator._saw_cgroup_create,
    "cgroup_rmdir": HugetlbGenerator._saw_cgroup_rmdir,
    "shmget": HugetlbGenerator._saw_shmget,
    "pin": HugetlbGenerator._saw_pin,
    "memfd_pin_folios": HugetlbGenerator._saw_pin,
    "note_frame": HugetlbGenerator._saw_note_frame,
    "uffd_register": HugetlbGenerator._saw_uffd_register,
    "guest_create": HugetlbGenerator._saw_guest_create,
    "guest_destroy": HugetlbGenerator._saw_guest_destroy,
}
