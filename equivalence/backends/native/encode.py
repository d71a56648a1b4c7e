"""Turns the operations of a trace into the fixed-size records that the driver reads.

Names become small numbers, one table for each kind of name: usual names always the same ones,
others from the end of the room. The driver keeps what a name stands for, and refuses what does not
exist.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from models.schema.trace import Op, Scalar, TraceError

#: The driver's operation numbers are the positions in this list.
KINDS: Final = (
    "spawn",
    "fork",
    "exit",
    "kill",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "touch_read",
    "touch_write",
    "madvise",
    "mbind",
    "set_mempolicy",
    "migrate_pages",
    "sched_setaffinity",
    "open",
    "memfd_create",
    "close",
    "ftruncate",
    "fallocate",
    "unlink",
    "shmget",
    "shmat",
    "shm_rmid",
    "mount",
    "umount",
    "set_nr_hugepages",
    "set_nr_overcommit_hugepages",
    "set_node_nr_hugepages",
    "cgroup_create",
    "cgroup_rmdir",
    "cgroup_set",
    "cgroup_attach",
    "fail_buddy",
    "fail_kmalloc",
    "demote",
    "set_nr_hugepages_mempolicy",
    "pin",
    "unpin",
    "uffd_register",
    "uffd_unregister",
    "uffd_copy",
    "uffd_continue",
    "uffd_poison",
    "uffd_writeprotect",
    "memfd_pin_folios",
    "fail_copy",
)

#: Objects whose allocation can be made to fail; the driver tells them by their size.
KMALLOCS: Final = (
    "any",
    "region",
    "resv_map",
    "vma_lock",
    "subpool",
    "vma",
    "anon_vma",
)

#: A number that the driver has no operation for: it refuses.
_NO_KIND: Final = 0xFFFF

#: Room for names, as the driver has it. (A process has 16 mappings at a time, by any names.)
ROOM: Final = {
    "proc": 32,
    "map": 4096,
    "fd": 16,
    "mount": 8,
    "cgroup": 8,
    "shm": 8,
    "name": 26,
    "pin": 64,
}

_RECORD = struct.Struct("<II10q")
RECORD_BYTES: Final = _RECORD.size
_NUMBER: Final = {kind: number for number, kind in enumerate(KINDS)}

_PROT: Final = {"none": 0, "r": 1, "rw": 3}
_TYPE: Final = {"shared": 1, "private": 2}
_ADVICE: Final = {
    "dontneed": 4,
    "free": 8,
    "remove": 9,
    "dontfork": 10,
    "dofork": 11,
    "wipeonfork": 18,
    "keeponfork": 19,
    "populate_read": 22,
    "populate_write": 23,
}
_FALLOCATE: Final = {
    "none": 0,
    "keep_size": 1,
    "punch_hole": 3,
    "collapse_range": 8,
    "zero_range": 16,
}
_POLICY: Final = {
    "default": 0,
    "preferred": 1,
    "bind": 2,
    "interleave": 3,
    "local": 4,
    "preferred_many": 5,
    "weighted_interleave": 6,
}
#: What to register for: missing pages 1, write protection 2, pages of the cache 4.
_UFFD: Final = {"missing": 1, "wp": 2, "minor": 4, "all": 7}
#: Copies that can be made to fail, as the driver numbers them.
_COPIES: Final = ("user", "user_atomic", "page")
_ABSENT: Final = -1
_WORD = (1 << 64) - 1


#: Arguments that are words, and those that the driver knows.
_WORDS: Final = (
    ("madvise", "advice", frozenset(_ADVICE)),
    ("fallocate", "mode", frozenset(_FALLOCATE)),
    ("mbind", "mode", frozenset(_POLICY)),
    ("set_mempolicy", "mode", frozenset(_POLICY)),
    ("mprotect", "prot", frozenset(_PROT)),
    ("mmap", "prot", frozenset(_PROT)),
    ("mmap", "type", frozenset(_TYPE)),
    ("fail_kmalloc", "what", frozenset(KMALLOCS)),
    ("fail_copy", "what", frozenset(_COPIES)),
    ("uffd_register", "mode", frozenset(_UFFD)),
)


#: Arguments that the driver does not have: an operation that needs one is refused, never run
#: without it.
_WITHOUT: Final[Mapping[str, frozenset[str]]] = {
    "mount": frozenset({"size_percent", "min_size_percent", "nr_inodes"}),
    "shmget": frozenset({"size"}),
    "cgroup_set": frozenset({"size"}),
    "set_nr_hugepages": frozenset({"sysctl"}),
    "set_nr_overcommit_hugepages": frozenset({"sysctl"}),
    "set_nr_hugepages_mempolicy": frozenset({"sysctl"}),
}


#: Huge pages of a mapping at most, as the driver has room for.
MAP_PAGES: Final = 64


def lacks(op: Op) -> bool:
    """Whether this tier cannot run the operation, and refuses it."""
    if op.kind not in _NUMBER:
        return True
    if op.kind == "mmap" and _int(op.args.get("len", 0)) > MAP_PAGES:
        return True
    for key in _WITHOUT.get(op.kind, ()):
        if key in op.args and op.args[key] != "2M":
            return True
    return any(
        op.args[key] not in words
        for kind, key, words in _WORDS
        if kind == op.kind and key in op.args
    )


class Encoder:
    """Encodes the operations of one trace, or of one session, in order."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {kind: {} for kind in ROOM}
        self._count = 0

    def copy(self) -> Encoder:
        """One that has seen the same operations."""
        made = Encoder()
        made._names = {kind: dict(names) for kind, names in self._names.items()}
        made._count = self._count
        return made

    def names(self, kind: str) -> dict[int, str]:
        """What the driver's numbers of one kind of name stand for."""
        return {number: name for name, number in self._names[kind].items()}

    def encode(self, op: Op, serial: int | None = None) -> bytes:
        """One record; ``serial`` is what a write stores (default: the operation's position).

        An operation that this tier lacks (see :func:`lacks`) becomes one that is refused.

        Raises:
            TraceError: more names than the driver has room for, or a word it does not know.
        """
        self._count += 1
        number = _NO_KIND if lacks(op) else _NUMBER[op.kind]
        try:
            args = [] if number == _NO_KIND else self._arguments(op.kind, op.args)
        except KeyError as error:
            msg = f"{op.kind}: {error.args[0]!r} is missing or is a word the native tier lacks"
            raise TraceError(msg) from None
        args += [0] * (10 - len(args))
        return _RECORD.pack(number, serial if serial is not None else self._count, *args)

    def encode_all(self, ops: Sequence[Op], serials: Sequence[int] | None = None) -> bytes:
        """The records of a whole trace.

        Raises:
            TraceError: as :meth:`encode`.
        """
        if serials is None:
            return b"".join([self.encode(op) for op in ops])
        return b"".join([self.encode(op, at) for op, at in zip(ops, serials, strict=True)])

    def _name(self, kind: str, value: Scalar) -> int:
        table = self._names[kind]
        name = str(value)
        number = table.get(name)
        if number is None:
            if len(table) >= ROOM[kind]:
                msg = f"{kind} {name!r}: the native tier has room for {ROOM[kind]} such names"
                raise TraceError(msg)
            taken = set(table.values())
            number = _usual(kind, name)
            if number is None or number in taken:
                number = next(n for n in range(ROOM[kind] - 1, -1, -1) if n not in taken)
            table[name] = number
        return number

    def _arguments(self, kind: str, args: Mapping[str, Scalar]) -> list[int]:
        name = self._name
        get = args.get

        def proc() -> int:
            return name("proc", args["proc"])

        def place() -> list[int]:
            """Process, mapping, first page and length (absent: to the end)."""
            return [
                name("proc", args["proc"]),
                name("map", args["map"]),
                _int(get("start", 0)),
                _int(get("len", _ABSENT)),
            ]

        giant = int(get("size") == "1G") if isinstance(get("size"), str) else 0
        if kind == "spawn":
            return [name("proc", args["id"])]
        if kind == "fork":
            return [proc(), name("proc", args["child"])]
        if kind in ("exit", "kill"):
            return [proc()]
        if kind == "mmap":
            flags = _TYPE[str(args["type"])]
            flags |= 0x4000 if get("noreserve") else 0
            flags |= 0x8000 if get("populate") else 0
            fd = name("fd", args["fd"]) if "fd" in args else _ABSENT
            prot = _PROT[str(get("prot", "rw"))]
            length, offset = _int(args["len"]), _int(get("off", 0))
            return [proc(), name("map", args["map"]), length, prot, flags, fd, offset, giant]
        if kind == "munmap":
            return place()
        if kind == "mremap":
            to = name("map", args["to"]) if "to" in args else _ABSENT
            return [*place(), _int(get("new_len", _ABSENT)), to]
        if kind == "mprotect":
            return [*place(), _PROT[str(args["prot"])]]
        if kind in ("touch_read", "touch_write"):
            return [proc(), name("map", args["map"]), _int(args["page"])]
        if kind == "madvise":
            return [*place(), _ADVICE[str(args["advice"])]]
        if kind == "mbind":
            return [*place(), _POLICY[str(args["mode"])], _nodes(get("nodes"))]
        if kind == "set_mempolicy":
            return [proc(), _POLICY[str(args["mode"])], _nodes(get("nodes"))]
        if kind == "migrate_pages":
            return [proc(), _nodes(args["from"]), _nodes(args["to"])]
        if kind == "sched_setaffinity":
            return [proc(), _int(args["cpu"])]
        if kind == "open":
            mount = name("mount", args["mount"])
            return [proc(), name("fd", args["fd"]), mount, name("name", args["name"])]
        if kind == "memfd_create":
            return [proc(), name("fd", args["fd"]), giant]
        if kind == "close":
            return [proc(), name("fd", args["fd"])]
        if kind == "ftruncate":
            return [proc(), name("fd", args["fd"]), _int(args["len"])]
        if kind == "fallocate":
            mode = _FALLOCATE[str(get("mode", "none"))]
            fd = name("fd", args["fd"])
            return [proc(), fd, mode, _int(get("off", 0)), _int(get("len", 0))]
        if kind == "shmget":
            return [name("shm", args["shm"]), _int(args["len"]), int(bool(get("noreserve")))]
        if kind == "shmat":
            return [proc(), name("map", args["map"]), name("shm", args["shm"])]
        if kind == "shm_rmid":
            return [name("shm", args["shm"])]
        if kind == "unlink":
            return [name("mount", args["mount"]), name("name", args["name"])]
        if kind == "mount":
            size, smallest = _int(get("size", _ABSENT)), _int(get("min_size", _ABSENT))
            return [name("mount", args["mount"]), size, smallest, int(get("pagesize") == "1G")]
        if kind == "umount":
            return [name("mount", args["mount"])]
        if kind in ("set_nr_hugepages", "set_nr_overcommit_hugepages"):
            return [_int(args["n"]), giant]
        if kind == "set_node_nr_hugepages":
            return [_int(args["node"]), _int(args["n"]), giant]
        if kind in ("cgroup_create", "cgroup_rmdir"):
            return [name("cgroup", args["cgroup"])]
        if kind == "cgroup_set":
            value = args["value"]
            limit = _ABSENT if value == "max" else _int(value)
            return [name("cgroup", args["cgroup"]), int(args["file"] == "rsvd.max"), limit]
        if kind == "cgroup_attach":
            group = _ABSENT if args["cgroup"] == "/" else name("cgroup", args["cgroup"])
            return [name("proc", args["target"]), group]
        if kind == "fail_buddy":
            return [_int(args["node"]), _int(args["count"]), _int(get("skip", 0))]
        if kind == "fail_kmalloc":
            what = KMALLOCS.index(str(get("what", "region")))
            return [_int(args["count"]), _int(get("skip", 0)), what]
        if kind == "demote":
            node = _int(get("node", _ABSENT))
            return [_int(args["n"]), node, int(get("size", "1G") == "1G")]
        if kind == "set_nr_hugepages_mempolicy":
            return [proc(), _int(args["n"]), giant]
        if kind == "pin":
            return [*place(), name("pin", args["pin"])]
        if kind == "unpin":
            return [proc(), name("pin", args["pin"])]
        if kind == "uffd_register":
            return [*place(), _UFFD[str(get("mode", "missing"))]]
        if kind == "uffd_unregister":
            return place()
        if kind == "uffd_writeprotect":
            return [*place(), int(bool(get("resolve")))]
        if kind in ("uffd_copy", "uffd_continue", "uffd_poison"):
            first, pages = _int(args["page"]), _int(get("len", 1))
            cold = [int(bool(get("cold")))] if kind == "uffd_copy" else []
            target = [proc(), name("map", args["map"]), first, pages]
            return [*target, *cold, int(bool(get("wp")))]
        if kind == "memfd_pin_folios":
            fd, span = name("fd", args["fd"]), [_int(get("off", 0)), _int(args["len"])]
            return [proc(), fd, *span, name("pin", args["pin"])]
        if kind == "fail_copy":
            return [_COPIES.index(str(get("what", "user"))), _int(args["count"])]
        return []


def _usual(kind: str, name: str) -> int | None:
    """The number of a name such as ``A`` or ``m3``, whichever names came before it: or else two
    traces that come to the same state would not be seen to.
    """
    if len(name) == 1 and "A" <= name.upper() <= "Z":
        number = ord(name.upper()) - ord("A")
    elif name[1:].isascii() and name[1:].isdigit() and len(name) < 4:
        number = int(name[1:])
    else:
        return None
    return number if number < ROOM[kind] else None


def _int(value: Scalar | None) -> int:
    """A number as the driver's signed 64-bit word; other words count as absent."""
    if not isinstance(value, int):
        return _ABSENT
    value &= _WORD
    return value - (1 << 64) if value >> 63 else value


def _nodes(value: Scalar | None) -> int:
    """A mask of a list of nodes such as ``0,1``."""
    if value is None:
        return 0
    mask = 0
    for word in str(value).split(","):
        if word.isdigit() and int(word) < 63:
            mask |= 1 << int(word)
    return mask


#: Where Linux on x86-64 and Python's table of the machine differ.
_ERRNOS: Final = {errno.EOPNOTSUPP: "EOPNOTSUPP", 133: "EHWPOISON"}


def errno_name(number: int) -> str:
    """The name Linux gives an errno."""
    return _ERRNOS.get(number) or errno.errorcode.get(number, str(number))
