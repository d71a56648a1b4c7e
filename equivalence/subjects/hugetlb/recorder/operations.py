"""Translate an operation of the trace format into a request to the guest.

Each operation is checked first: an unknown operation, argument or name, or a value out of range
is refused with one message, and the kernel never sees it. Whatever the kernel itself would
answer with an errno is let through.

Extensions to hugetlb-trace/1: `mbind` and `set_mempolicy` also take the modes ``preferred_many``
and ``weighted_interleave``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError
from equivalence.subjects.hugetlb.recorder.guest import NODES
from equivalence.subjects.hugetlb.recorder.names import Names, Process

SLOT_PAGES = 2048
"""Huge pages between two mappings' address slots (4 GiB)."""

_MOST_PAGES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")

# Words of the format and the numbers of Linux on x86-64 (uapi headers).
_PROT = {"none": 0, "r": 1, "rw": 3}
_ADVICE = {
    "dontneed": 4,
    "free": 8,
    "remove": 9,
    "dontfork": 10,
    "wipeonfork": 18,
    "populate_read": 22,
    "populate_write": 23,
}
_FALLOCATE = {
    "none": 0,
    "keep_size": 0x01,
    "punch_hole": 0x02 | 0x01,
    "collapse_range": 0x08,
    "zero_range": 0x10,
}
_POLICY = {
    "default": 0,
    "preferred": 1,
    "bind": 2,
    "interleave": 3,
    "preferred_many": 5,
    "weighted_interleave": 6,
}
_MAP_TYPE = {"shared": 0x01, "private": 0x02}
_MAP_ANONYMOUS_HUGE = 0x20 | 0x40000
_MAP_NORESERVE = 0x4000
_MAP_POPULATE = 0x8000


def _no_change() -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, and what to note in the names when the kernel answers with success."""

    line: str
    on_success: Callable[[], None]


class _Arguments:
    """The arguments of one operation, each taken once and checked."""

    def __init__(self, op: str, args: Mapping[str, Any]) -> None:
        self.op = op
        self._args = args
        self._left = set(args)

    def has(self, key: str) -> bool:
        return key in self._args

    def name(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not _NAME.fullmatch(value) or value in (".", ".."):
            raise self.refuse(key, value, "a name of letters, digits, '_', '.', '-'")
        return value

    def number(self, key: str, default: int | None = None, most: int = _MOST_PAGES) -> int:
        if default is not None and key not in self._args:
            return default
        value = self._take(key)
        if not isinstance(value, int) or not 0 <= value <= most:
            raise self.refuse(key, value, f"a number from 0 to {most}")
        return int(value)

    def flag(self, key: str) -> bool:
        return bool(self.number(key, 0, most=1))

    def word(self, key: str, words: Mapping[str, int], default: str | None = None) -> int:
        if default is not None and key not in self._args:
            return words[default]
        value = self._take(key)
        if not isinstance(value, str) or value not in words:
            raise self.refuse(key, value, "one of " + ", ".join(words))
        return words[value]

    def nodes(self, key: str) -> int:
        """Take a list of nodes such as "0,1" as a mask; without the argument, 0."""
        if key not in self._args:
            return 0
        value = self._take(key)
        mask = 0
        for part in str(value).split(","):
            if not part.isdecimal() or int(part) >= NODES:
                raise self.refuse(key, value, f"nodes from 0 to {NODES - 1}, as in '0,1'")
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
        if self._left:
            key = min(self._left)
            msg = f"operation {self.op!r} has no argument {key!r}; leave it out"
            raise OperationRefusedError(msg)

    def refuse(self, key: str, value: object, expected: str) -> OperationRefusedError:
        return OperationRefusedError(
            f"operation {self.op!r}: {key} is {value!r}, expected {expected}"
        )

    def _take(self, key: str) -> Any:
        if key not in self._args:
            msg = f"operation {self.op!r} lacks its argument {key!r}; give it"
            raise OperationRefusedError(msg)
        self._left.discard(key)
        return self._args[key]


_Translation = tuple[list[int], str, Callable[[], None]]
"""The numbers to send, a text to send (or ""), and the effect on the names."""


def translate(names: Names, i: int, op: str, args: Mapping[str, Any]) -> Request:
    """Return the request for operation number `i`. Raises `OperationRefusedError`."""
    if op not in _OPERATIONS:
        msg = f"operation {op!r} is unknown; there are: {', '.join(sorted(_OPERATIONS))}"
        raise OperationRefusedError(msg)
    arguments = _Arguments(op, args)
    verb, function = _OPERATIONS[op]
    numbers, text, on_success = function(names, arguments)
    arguments.done()
    words = ["op", str(i), verb, *(str(number) for number in numbers)]
    if text:
        words.append("=" + text)
    return Request(" ".join(words), on_success)


def operations() -> list[str]:
    """Return the names of all operations, sorted."""
    return sorted(_OPERATIONS)


# Processes


def _spawn(names: Names, args: _Arguments) -> _Translation:
    name = args.name("id")
    return [names.slots.free(name)], "", lambda: names.add_process(name, Process())


def _fork(names: Names, args: _Arguments) -> _Translation:
    parent, child = args.name("proc"), args.name("child")
    process = names.process(parent)
    numbers = [names.slots.slot(parent), names.slots.free(child)]
    return numbers, "", lambda: names.add_process(child, process.copy())


def _leave(names: Names, args: _Arguments) -> _Translation:
    name = args.name("proc")
    return [names.slots.slot(name)], "", lambda: names.drop_process(name)


def _affinity(names: Names, args: _Arguments) -> _Translation:
    return [names.slots.slot(args.name("proc")), args.number("cpu", most=63)], "", _no_change


# Mappings


def _owner(names: Names, args: _Arguments) -> tuple[int, Process]:
    name = args.name("proc")
    return names.slots.slot(name), names.process(name)


def _mapping(names: Names, args: _Arguments) -> tuple[int, Process, int, str]:
    """Take `proc` and `map`: slot and state of the process, slot and name of the mapping."""
    slot, process = _owner(names, args)
    name = args.name("map")
    return slot, process, process.maps.slot(name), name


def _mmap(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    name, length = args.name("map"), args.number("len", most=SLOT_PAGES)
    flags = args.word("type", _MAP_TYPE)
    flags |= _MAP_NORESERVE if args.flag("noreserve") else 0
    flags |= _MAP_POPULATE if args.flag("populate") else 0
    prot = args.word("prot", _PROT, "rw")
    fd, offset = -1, 0
    if args.has("fd"):
        fd, offset = process.fds.slot(args.name("fd")), args.number("off", 0)
    else:
        flags |= _MAP_ANONYMOUS_HUGE
    numbers = [slot, process.maps.free(name), length, prot, flags, fd, offset]
    return numbers, "", lambda: process.add_map(name, length)


def _munmap(names: Names, args: _Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length], "", lambda: process.lose(name, start, length)


def _mremap(names: Names, args: _Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    new_length = args.number("new_len", length, most=SLOT_PAGES - start)
    if args.has("to"):
        to = args.name("to")
        target = process.maps.free(to)

        def moved() -> None:
            process.add_map(to, new_length)
            process.lose(name, start, length)

        return [slot, number, start, length, new_length, target], "", moved

    def resized() -> None:
        pages = process.lost[name]
        pages.extend([False] * (start + new_length - len(pages)))
        process.lose(name, start + new_length, length - new_length)

    return [slot, number, start, length, new_length, -1], "", resized


def _mprotect(names: Names, args: _Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length, args.word("prot", _PROT)], "", _no_change


def _madvise(names: Names, args: _Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length, args.word("advice", _ADVICE)], "", _no_change


def _touch(write: int) -> Callable[[Names, _Arguments], _Translation]:
    def touch(names: Names, args: _Arguments) -> _Translation:
        slot, _, number, _ = _mapping(names, args)
        return [slot, number, args.number("page", most=SLOT_PAGES - 1), write], "", _no_change

    return touch


# Placement


def _mbind(names: Names, args: _Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    mode = args.word("mode", _POLICY)
    return [slot, number, start, length, mode, args.nodes("nodes")], "", _no_change


def _set_mempolicy(names: Names, args: _Arguments) -> _Translation:
    slot = names.slots.slot(args.name("proc"))
    return [slot, args.word("mode", _POLICY), args.nodes("nodes")], "", _no_change


def _migrate_pages(names: Names, args: _Arguments) -> _Translation:
    slot = names.slots.slot(args.name("proc"))
    source, target = args.nodes("from"), args.nodes("to")
    if not source or not target:
        msg = "operation 'migrate_pages' lacks 'from' or 'to'; give both nodes"
        raise OperationRefusedError(msg)
    return [slot, source, target], "", _no_change


# Files


def _open(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    fd, mount, name = args.name("fd"), args.name("mount"), args.name("name")
    numbers = [slot, process.fds.free(fd), names.mounts.slot(mount)]
    return numbers, name, lambda: process.fds.take(fd)


def _memfd_create(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    fd = args.name("fd")
    return [slot, process.fds.free(fd)], "", lambda: process.fds.take(fd)


def _close(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    fd = args.name("fd")
    return [slot, process.fds.slot(fd)], "", lambda: process.fds.drop(fd)


def _ftruncate(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    return [slot, process.fds.slot(args.name("fd")), args.number("len")], "", _no_change


def _fallocate(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    numbers = [slot, process.fds.slot(args.name("fd")), args.word("mode", _FALLOCATE, "none")]
    return [*numbers, args.number("off", 0), args.number("len", 0)], "", _no_change


def _unlink(names: Names, args: _Arguments) -> _Translation:
    return [names.mounts.slot(args.name("mount"))], args.name("name"), _no_change


# System V shared memory


def _shmget(names: Names, args: _Arguments) -> _Translation:
    name, length = args.name("shm"), args.number("len")
    numbers = [names.segments.free(name), length, int(args.flag("noreserve"))]

    def made() -> None:
        names.segments.take(name)
        names.segment_length[name] = length

    return numbers, "", made


def _shmat(names: Names, args: _Arguments) -> _Translation:
    slot, process = _owner(names, args)
    name, segment = args.name("map"), args.name("shm")
    number = names.segments.slot(segment)
    length = names.segment_length[segment]
    if length > SLOT_PAGES:
        msg = f"shm {segment!r} has {length} pages, a mapping has room for {SLOT_PAGES}"
        raise OperationRefusedError(msg)
    numbers = [slot, process.maps.free(name), number, length]
    return numbers, "", lambda: process.add_map(name, length)


def _shm_rmid(names: Names, args: _Arguments) -> _Translation:
    name = args.name("shm")
    return [names.segments.slot(name)], "", lambda: names.segments.drop(name)


# Mounts, the pool, cgroups


def _mount(names: Names, args: _Arguments) -> _Translation:
    name = args.name("mount")
    size = args.number("size") if args.has("size") else -1
    min_size = args.number("min_size") if args.has("min_size") else -1
    return [names.mounts.free(name), size, min_size], "", lambda: names.mounts.take(name)


def _umount(names: Names, args: _Arguments) -> _Translation:
    name = args.name("mount")
    return [names.mounts.slot(name)], "", lambda: names.mounts.drop(name)


def _set_pool(_: Names, args: _Arguments) -> _Translation:
    return [args.number("n")], "", _no_change


def _set_node_pool(_: Names, args: _Arguments) -> _Translation:
    return [args.number("node", most=NODES - 1), args.number("n")], "", _no_change


def _cgroup_create(names: Names, args: _Arguments) -> _Translation:
    name = args.name("cgroup")
    return [names.cgroups.free(name)], "", lambda: names.cgroups.take(name)


def _cgroup_rmdir(names: Names, args: _Arguments) -> _Translation:
    name = args.name("cgroup")
    return [names.cgroups.slot(name)], "", lambda: names.cgroups.drop(name)


def _cgroup_set(names: Names, args: _Arguments) -> _Translation:
    cgroup = names.cgroups.slot(args.name("cgroup"))
    which = args.word("file", {"max": 0, "rsvd.max": 1})
    return [cgroup, which, args.limit("value")], "", _no_change


def _cgroup_attach(names: Names, args: _Arguments) -> _Translation:
    target = names.slots.slot(args.name("target"))
    if args.root("cgroup"):
        return [-1, target], "", _no_change
    return [names.cgroups.slot(args.name("cgroup")), target], "", _no_change


_OPERATIONS: dict[str, tuple[str, Callable[[Names, _Arguments], _Translation]]] = {
    "spawn": ("spawn", _spawn),
    "fork": ("fork", _fork),
    "exit": ("exit", _leave),
    "kill": ("kill", _leave),
    "sched_setaffinity": ("sched_setaffinity", _affinity),
    "mmap": ("mmap", _mmap),
    "munmap": ("munmap", _munmap),
    "mremap": ("mremap", _mremap),
    "mprotect": ("mprotect", _mprotect),
    "madvise": ("madvise", _madvise),
    "touch_read": ("touch", _touch(0)),
    "touch_write": ("touch", _touch(1)),
    "mbind": ("mbind", _mbind),
    "set_mempolicy": ("set_mempolicy", _set_mempolicy),
    "migrate_pages": ("migrate_pages", _migrate_pages),
    "open": ("open", _open),
    "memfd_create": ("memfd_create", _memfd_create),
    "close": ("close", _close),
    "ftruncate": ("ftruncate", _ftruncate),
    "fallocate": ("fallocate", _fallocate),
    "unlink": ("unlink", _unlink),
    "shmget": ("shmget", _shmget),
    "shmat": ("shmat", _shmat),
    "shm_rmid": ("shm_rmid", _shm_rmid),
    "mount": ("mount", _mount),
    "umount": ("umount", _umount),
    "set_nr_hugepages": ("set_nr_hugepages", _set_pool),
    "set_nr_overcommit_hugepages": ("set_nr_overcommit_hugepages", _set_pool),
    "set_node_nr_hugepages": ("set_node_nr_hugepages", _set_node_pool),
    "cgroup_create": ("cgroup_create", _cgroup_create),
    "cgroup_rmdir": ("cgroup_rmdir", _cgroup_rmdir),
    "cgroup_set": ("cgroup_set", _cgroup_set),
    "cgroup_attach": ("cgroup_attach", _cgroup_attach),
}
