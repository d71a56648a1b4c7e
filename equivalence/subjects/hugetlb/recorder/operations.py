"""Translate an operation of the trace format into a request to the guest.

Each operation is checked first: an unknown operation, argument or name, or a value out of range
is refused with one message, and the kernel never sees it. Whatever the kernel itself would
answer with an errno is let through.

Extensions to hugetlb-trace/1, for recordings of what it leaves out:

- `mbind` and `set_mempolicy`: modes ``preferred_many`` and ``weighted_interleave``.
- `madvise`: advice ``hwpoison`` and ``soft_offline``; the kernel is rebooted after the trace.
- `uffd_register` (`proc map [start len] [mode]`), mode ``missing`` (default), ``minor``, ``wp`` or
  ``all``, and `uffd_unregister` (`proc map [start len]`): a userfaultfd with UFFD_FEATURE_SIGBUS,
  so a touch that would wait for a handler gets SIGBUS. A child made by fork(2) has none.
- `uffd_copy` (`proc map page [len] [cold] [wp]`): UFFDIO_COPY of `len` pages (default 1) whose
  first words are `i`, `i` + 2 MiB and so on. With ``cold`` the source was never touched: the
  kernel must let go of its locks and try again, and the words are 0.
- `uffd_continue` (`proc map page [len] [wp]`): UFFDIO_CONTINUE; `uffd_poison` (`proc map page
  [len]`): UFFDIO_POISON. With ``wp`` the pages are write-protected from the start.
- `uffd_writeprotect` (`proc map [start len] [resolve]`): UFFDIO_WRITEPROTECT.
- `set_nr_hugepages` and `set_nr_overcommit_hugepages`: with ``sysctl`` = 1 the files in
  /proc/sys/vm. `set_nr_hugepages_mempolicy` (`proc n [sysctl]`): the file of this name, written by
  the process. `set_interleave_weight` (`node weight`): the node's file in
  /sys/kernel/mm/mempolicy/weighted_interleave; the recorder sets the default, 1, after the trace.
- `note_frame` (`proc map page frame`): remember by the name `frame` where a page is now; no call.
  `soft_offline` and `hard_offline` (`frame`): a write to the files of these names, of a frame that
  was remembered, whoever has it by now; the kernel is rebooted after the trace.
- `pin` (`proc pin map [start len]`), `unpin` (`proc pin`): a long-term pin of pages by their
  registration as an io_uring buffer, under a name of its own. `exit` unpins first, and `kill` of
  a process that has pins is refused, because the kernel would unpin some time after.
- `cgroup_mems` (`cgroup nodes`): ``cpuset.mems``; from the first on, the trace's cgroups have the
  cpuset controller. `nodes` may be "" for the parent's nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from equivalence.subjects.hugetlb.recorder.arguments import SLOT_PAGES, Arguments
from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError
from equivalence.subjects.hugetlb.recorder.guest import NODES
from equivalence.subjects.hugetlb.recorder.names import Names, Process

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
    "hwpoison": 100,
    "soft_offline": 101,
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
_UFFD_MODE = {"missing": 1, "wp": 2, "minor": 4, "all": 7}
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


_Translation = tuple[list[int], str, Callable[[], None]]
"""The numbers to send, a text to send (or ""), and the effect on the names."""


def translate(names: Names, i: int, op: str, args: Mapping[str, Any]) -> Request:
    """Return the request for operation number `i`. Raises `OperationRefusedError`."""
    if op not in _OPERATIONS:
        msg = f"operation {op!r} is unknown; there are: {', '.join(sorted(_OPERATIONS))}"
        raise OperationRefusedError(msg)
    arguments = Arguments(op, args)
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


def _spawn(names: Names, args: Arguments) -> _Translation:
    name = args.name("id")
    return [names.slots.free(name)], "", lambda: names.add_process(name, Process())


def _fork(names: Names, args: Arguments) -> _Translation:
    parent, child = args.name("proc"), args.name("child")
    process = names.process(parent)
    numbers = [names.slots.slot(parent), names.slots.free(child)]
    return numbers, "", lambda: names.add_process(child, process.copy())


def _leave(names: Names, args: Arguments) -> _Translation:
    name = args.name("proc")
    return [names.slots.slot(name)], "", lambda: names.drop_process(name)


def _kill(names: Names, args: Arguments) -> _Translation:
    name = args.name("proc")
    pins = ", ".join(pin for _, pin in names.process(name).pins)
    if pins:
        msg = f"process {name!r} has pins ({pins}) that a kill lets go of late; unpin them first"
        raise OperationRefusedError(msg)
    return [names.slots.slot(name)], "", lambda: names.drop_process(name)


def _affinity(names: Names, args: Arguments) -> _Translation:
    return [names.slots.slot(args.name("proc")), args.number("cpu", most=63)], "", _no_change


# Mappings


def _owner(names: Names, args: Arguments) -> tuple[int, Process]:
    name = args.name("proc")
    return names.slots.slot(name), names.process(name)


def _mapping(names: Names, args: Arguments) -> tuple[int, Process, int, str]:
    """Take `proc` and `map`: slot and state of the process, slot and name of the mapping."""
    slot, process = _owner(names, args)
    name = args.name("map")
    return slot, process, process.maps.slot(name), name


def _mmap(names: Names, args: Arguments) -> _Translation:
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


def _munmap(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length], "", lambda: process.lose(name, start, length)


def _mremap(names: Names, args: Arguments) -> _Translation:
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


def _mprotect(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length, args.word("prot", _PROT)], "", _no_change


def _madvise(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length, args.word("advice", _ADVICE)], "", _no_change


def _touch(write: int) -> Callable[[Names, Arguments], _Translation]:
    def touch(names: Names, args: Arguments) -> _Translation:
        slot, _, number, _ = _mapping(names, args)
        return [slot, number, args.number("page", most=SLOT_PAGES - 1), write], "", _no_change

    return touch


# Placement


def _mbind(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    mode = args.word("mode", _POLICY)
    return [slot, number, start, length, mode, args.nodes("nodes")], "", _no_change


def _set_mempolicy(names: Names, args: Arguments) -> _Translation:
    slot = names.slots.slot(args.name("proc"))
    return [slot, args.word("mode", _POLICY), args.nodes("nodes")], "", _no_change


def _migrate_pages(names: Names, args: Arguments) -> _Translation:
    slot = names.slots.slot(args.name("proc"))
    source, target = args.nodes("from"), args.nodes("to")
    if not source or not target:
        msg = "operation 'migrate_pages' lacks 'from' or 'to'; give both nodes"
        raise OperationRefusedError(msg)
    return [slot, source, target], "", _no_change


# Files


def _open(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    fd, mount, name = args.name("fd"), args.name("mount"), args.name("name")
    numbers = [slot, process.fds.free(fd), names.mounts.slot(mount)]
    return numbers, name, lambda: process.fds.take(fd)


def _memfd_create(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    fd = args.name("fd")
    return [slot, process.fds.free(fd)], "", lambda: process.fds.take(fd)


def _close(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    fd = args.name("fd")
    return [slot, process.fds.slot(fd)], "", lambda: process.fds.drop(fd)


def _ftruncate(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    return [slot, process.fds.slot(args.name("fd")), args.number("len")], "", _no_change


def _fallocate(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    numbers = [slot, process.fds.slot(args.name("fd")), args.word("mode", _FALLOCATE, "none")]
    return [*numbers, args.number("off", 0), args.number("len", 0)], "", _no_change


def _unlink(names: Names, args: Arguments) -> _Translation:
    return [names.mounts.slot(args.name("mount"))], args.name("name"), _no_change


# System V shared memory


def _shmget(names: Names, args: Arguments) -> _Translation:
    name, length = args.name("shm"), args.number("len")
    numbers = [names.segments.free(name), length, int(args.flag("noreserve"))]

    def made() -> None:
        names.segments.take(name)
        names.segment_length[name] = length

    return numbers, "", made


def _shmat(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    name, segment = args.name("map"), args.name("shm")
    number = names.segments.slot(segment)
    length = names.segment_length[segment]
    if length > SLOT_PAGES:
        msg = f"shm {segment!r} has {length} pages, a mapping has room for {SLOT_PAGES}"
        raise OperationRefusedError(msg)
    numbers = [slot, process.maps.free(name), number, length]
    return numbers, "", lambda: process.add_map(name, length)


def _shm_rmid(names: Names, args: Arguments) -> _Translation:
    name = args.name("shm")
    return [names.segments.slot(name)], "", lambda: names.segments.drop(name)


# Extensions


def _uffd_register(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    mode = args.word("mode", _UFFD_MODE, "missing")
    return [slot, number, start, length, mode], "", _no_change


def _uffd_unregister(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    return [slot, number, *args.range(len(process.lost[name]))], "", _no_change


def _uffd_writeprotect(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    start, length = args.range(len(process.lost[name]))
    return [slot, number, start, length, int(not args.flag("resolve"))], "", _no_change


def _uffd_poison(names: Names, args: Arguments) -> _Translation:
    slot, _, number, _ = _mapping(names, args)
    page = args.number("page", most=SLOT_PAGES - 1)
    return [slot, number, page, args.number("len", 1, most=SLOT_PAGES - page)], "", _no_change


def _uffd_continue(names: Names, args: Arguments) -> _Translation:
    numbers, text, on_success = _uffd_poison(names, args)
    return [*numbers, int(args.flag("wp"))], text, on_success


def _uffd_copy(names: Names, args: Arguments) -> _Translation:
    numbers, text, on_success = _uffd_continue(names, args)
    return [*numbers, int(args.flag("cold"))], text, on_success


def _note_frame(names: Names, args: Arguments) -> _Translation:
    _, _, _, name = _mapping(names, args)
    pages = names.shown[args.name("proc")][name]
    page, frame = args.number("page", most=SLOT_PAGES - 1), args.name("frame")
    shown = pages[page] if page < len(pages) else None
    _, colon, number = (shown or "").partition(":")
    if not colon:
        msg = f"page {page} of mapping {name!r} is nowhere; touch it first"
        raise OperationRefusedError(msg)

    def noted() -> None:
        names.frames[frame] = int(number)

    return [], "", noted


def _offline(hard: int) -> Callable[[Names, Arguments], _Translation]:
    def offline(names: Names, args: Arguments) -> _Translation:
        frame = args.name("frame")
        if frame not in names.frames:
            known = ", ".join(names.frames) or "none"
            msg = f"frame {frame!r} was not looked up with note_frame; there are: {known}"
            raise OperationRefusedError(msg)
        return [hard, names.frames[frame]], "", _no_change

    return offline


def _pin(names: Names, args: Arguments) -> _Translation:
    slot, process, number, name = _mapping(names, args)
    pin = args.name("pin")
    start, length = args.range(len(process.lost[name]))
    numbers = [slot, number, start, length, process.pins.free(pin)]
    return numbers, "", lambda: process.pins.take(pin)


def _unpin(names: Names, args: Arguments) -> _Translation:
    slot, process = _owner(names, args)
    pin = args.name("pin")
    return [slot, process.pins.slot(pin)], "", lambda: process.pins.drop(pin)


def _cgroup_mems(names: Names, args: Arguments) -> _Translation:
    cgroup = names.cgroups.slot(args.name("cgroup"))
    return [cgroup, args.some_nodes("nodes")], "", _no_change


# Mounts, the pool, cgroups


def _mount(names: Names, args: Arguments) -> _Translation:
    name = args.name("mount")
    size = args.number("size") if args.has("size") else -1
    min_size = args.number("min_size") if args.has("min_size") else -1
    return [names.mounts.free(name), size, min_size], "", lambda: names.mounts.take(name)


def _umount(names: Names, args: Arguments) -> _Translation:
    name = args.name("mount")
    return [names.mounts.slot(name)], "", lambda: names.mounts.drop(name)


def _set_pool(_: Names, args: Arguments) -> _Translation:
    return [args.number("n"), int(args.flag("sysctl"))], "", _no_change


def _set_pool_mempolicy(names: Names, args: Arguments) -> _Translation:
    slot = names.slots.slot(args.name("proc"))
    return [slot, args.number("n"), int(args.flag("sysctl"))], "", _no_change


def _set_weight(_: Names, args: Arguments) -> _Translation:
    return [args.number("node", most=NODES - 1), args.number("weight", most=255)], "", _no_change


def _set_node_pool(_: Names, args: Arguments) -> _Translation:
    return [args.number("node", most=NODES - 1), args.number("n")], "", _no_change


def _cgroup_create(names: Names, args: Arguments) -> _Translation:
    name = args.name("cgroup")
    return [names.cgroups.free(name)], "", lambda: names.cgroups.take(name)


def _cgroup_rmdir(names: Names, args: Arguments) -> _Translation:
    name = args.name("cgroup")
    return [names.cgroups.slot(name)], "", lambda: names.cgroups.drop(name)


def _cgroup_set(names: Names, args: Arguments) -> _Translation:
    cgroup = names.cgroups.slot(args.name("cgroup"))
    which = args.word("file", {"max": 0, "rsvd.max": 1})
    return [cgroup, which, args.limit("value")], "", _no_change


def _cgroup_attach(names: Names, args: Arguments) -> _Translation:
    target = names.slots.slot(args.name("target"))
    if args.root("cgroup"):
        return [-1, target], "", _no_change
    return [names.cgroups.slot(args.name("cgroup")), target], "", _no_change


_OPERATIONS: dict[str, tuple[str, Callable[[Names, Arguments], _Translation]]] = {
    "spawn": ("spawn", _spawn),
    "fork": ("fork", _fork),
    "exit": ("exit", _leave),
    "kill": ("kill", _kill),
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
    "set_nr_hugepages_mempolicy": ("set_nr_hugepages_mempolicy", _set_pool_mempolicy),
    "set_interleave_weight": ("set_interleave_weight", _set_weight),
    "set_nr_hugepages": ("set_nr_hugepages", _set_pool),
    "set_nr_overcommit_hugepages": ("set_nr_overcommit_hugepages", _set_pool),
    "set_node_nr_hugepages": ("set_node_nr_hugepages", _set_node_pool),
    "cgroup_create": ("cgroup_create", _cgroup_create),
    "cgroup_rmdir": ("cgroup_rmdir", _cgroup_rmdir),
    "cgroup_set": ("cgroup_set", _cgroup_set),
    "cgroup_attach": ("cgroup_attach", _cgroup_attach),
    "uffd_register": ("uffd_register", _uffd_register),
    "uffd_unregister": ("uffd_unregister", _uffd_unregister),
    "uffd_copy": ("uffd_copy", _uffd_copy),
    "uffd_continue": ("uffd_continue", _uffd_continue),
    "uffd_poison": ("uffd_poison", _uffd_poison),
    "uffd_writeprotect": ("uffd_writeprotect", _uffd_writeprotect),
    "note_frame": ("nothing", _note_frame),
    "soft_offline": ("offline", _offline(0)),
    "hard_offline": ("offline", _offline(1)),
    "pin": ("pin", _pin),
    "unpin": ("unpin", _unpin),
    "cgroup_mems": ("cgroup_mems", _cgroup_mems),
}
