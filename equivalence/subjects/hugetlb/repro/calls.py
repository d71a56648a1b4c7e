"""Each operation as the C that does it, or the reason why user space cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from models.schema.trace import Op, Scalar

#: Most names of one kind that a program has room for (``MOST`` in its runtime).
MOST_NAMES: Final = 16
#: Who does what no process of the trace does: the program itself.
INIT: Final = "INIT"

_PROT: Final = {"rw": "PROT_READ | PROT_WRITE", "r": "PROT_READ", "none": "PROT_NONE"}
_ADVICE: Final = {
    "dontneed": "MADV_DONTNEED",
    "free": "MADV_FREE",
    "remove": "MADV_REMOVE",
    "dontfork": "MADV_DONTFORK",
    "wipeonfork": "MADV_WIPEONFORK",
    "populate_read": "MADV_POPULATE_READ",
    "populate_write": "MADV_POPULATE_WRITE",
    "hwpoison": "MADV_HWPOISON",
    "soft_offline": "MADV_SOFT_OFFLINE",
}
#: fallocate(2): a mode in C, as <linux/falloc.h> numbers it.
_FALLOCATE: Final = {
    "none": "0",
    "keep_size": "0x01 /* KEEP_SIZE */",
    "punch_hole": "0x03 /* PUNCH_HOLE | KEEP_SIZE */",
    "collapse_range": "0x08 /* COLLAPSE_RANGE */",
    "zero_range": "0x10 /* ZERO_RANGE */",
}
_POLICY: Final = {
    "default": "0 /* MPOL_DEFAULT */",
    "preferred": "1 /* MPOL_PREFERRED */",
    "bind": "2 /* MPOL_BIND */",
    "interleave": "3 /* MPOL_INTERLEAVE */",
    "preferred_many": "5 /* MPOL_PREFERRED_MANY */",
    "weighted_interleave": "6 /* MPOL_WEIGHTED_INTERLEAVE */",
}
_UFFD_MODE: Final = {
    "missing": "UFFDIO_REGISTER_MODE_MISSING",
    "wp": "UFFDIO_REGISTER_MODE_WP",
    "minor": "UFFDIO_REGISTER_MODE_MINOR",
    "all": "UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR",
}
_FAILS: Final = "user space cannot make the kernel fail here"
_FRAME: Final = "user space does not know the physical address of a page that nobody has mapped"
_GUEST: Final = "no kernel has this: an allocation by a user without any mapping"
_CANNOT: Final[Mapping[str, str]] = {
    "fail_buddy": f"{_FAILS}: an allocation by the page allocator (CONFIG_FAIL_PAGE_ALLOC can)",
    "fail_kmalloc": f"{_FAILS}: an allocation of a kernel structure (CONFIG_FAILSLAB can)",
    "fail_charge": f"{_FAILS}: a charge to a cgroup, but for its limits",
    "fail_copy": f"{_FAILS}: a copy of memory",
    "note_frame": "it only names a page, for operations that user space cannot do",
    "hard_offline": _FRAME,
    "soft_offline": _FRAME,
    "unpoison": _FRAME,
    "dissolve": _FRAME,
    "clear_range": _FRAME,
    "memfd_pin_folios": "only drivers call memfd_pin_folios()",
    "guest_create": _GUEST,
    "guest_alloc": _GUEST,
    "guest_free": _GUEST,
    "guest_destroy": _GUEST,
}


class CannotError(Exception):
    """User space cannot do this operation; the text says why."""


@dataclass(slots=True)
class Names:
    """The names of a trace as the enumerators of its program, by kind, in order of first use."""

    known: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Parts of the runtime that the program needs beside the base: ``uffd``, ``pin``.
    parts: set[str] = field(default_factory=set)

    def of(self, kind: str, name: Scalar) -> str:
        """The enumerator of a name.

        Raises:
            CannotError: the program has no room for another.
        """
        table = self.known.setdefault(kind, {})
        if str(name) not in table:
            if len(table) >= MOST_NAMES:
                msg = f"a program has room for {MOST_NAMES} names of one kind"
                raise CannotError(msg)
            word = re.sub(r"[^A-Za-z0-9]", "_", str(name))
            if f"{kind}_{word}" in table.values():
                word += f"_{len(table)}"
            table[str(name)] = f"{kind}_{word}"
        return table[str(name)]


@dataclass(frozen=True, slots=True)
class Call:
    """Who does an operation (an enumerator), and the statements that do it."""

    who: str
    lines: tuple[str, ...]


def call_of(op: Op, names: Names, value: int) -> Call:
    """An operation in C; ``value`` is what a write stores.

    Raises:
        CannotError: user space cannot do it.
    """
    if op.kind in _CANNOT:
        raise CannotError(_CANNOT[op.kind])
    maker = _CALLS.get(op.kind)
    if maker is None:
        msg = "this operation has no counterpart in C yet"
        raise CannotError(msg)
    who = names.of("PROC", op.args["proc"]) if "proc" in op.args else INIT
    if op.kind in ("exit", "kill"):
        who = INIT
    lines = maker(_Maker(op, names, value))
    return Call(who, (lines,) if isinstance(lines, str) else lines)


class _Maker:
    """The arguments of one operation as C expressions."""

    def __init__(self, op: Op, names: Names, value: int) -> None:
        self.args = op.args
        self.kind = op.kind
        self.names = names
        self.value = value

    def name(self, kind: str, key: str) -> str:
        return self.names.of(kind, self.args[key])

    def number(self, key: str, default: int = 0) -> int:
        return int(self.args.get(key, default))

    @property
    def map(self) -> str:
        return self.name("MAP", "map")

    @property
    def range(self) -> str:
        """``map, start, pages``: by default as many pages as the mapping was made with."""
        pages = self.args.get("len", f"pages_of[{self.map}]")
        return f"{self.map}, {self.number('start')}, {pages}"

    @property
    def span(self) -> str:
        """The range as address and length in bytes."""
        pages = self.args.get("len", f"pages_of[{self.map}]")
        return f"at({self.map}, {self.number('start')}), bytes({self.map}, {pages})"

    def giant(self, key: str = "size", default: str = "2M") -> bool:
        return self.args.get(key, default) == "1G"

    def unit(self, key: str = "size") -> str:
        return "SIZE_1G" if self.giant(key) else "SIZE_2M"

    def mask(self, key: str) -> str:
        nodes = [int(part) for part in str(self.args.get(key, "")).split(",") if part.isdecimal()]
        return f"{sum({1 << node for node in nodes if node < 64}):#x}UL"

    def pool(self, default: str = "2M") -> str:
        return "POOL_1G" if self.giant(default=default) else "POOL_2M"


def _mmap(one: _Maker) -> tuple[str, ...]:
    flags = ["MAP_SHARED" if one.args["type"] == "shared" else "MAP_PRIVATE"]
    if "fd" in one.args:
        fd = one.name("FD", "fd")
        unit, behind = (
            f"file_unit[{fd}]",
            f"file[{fd}], {one.number('off')} * (off_t)file_unit[{fd}]",
        )
    else:
        unit, behind = one.unit(), "-1, 0"
        flags += ["MAP_ANONYMOUS", "MAP_HUGETLB", "HUGE_1G" if one.giant() else "HUGE_2M"]
    flags += ["MAP_NORESERVE"] if one.number("noreserve") else []
    flags += ["MAP_POPULATE"] if one.number("populate") else []
    prot = _PROT[str(one.args.get("prot", "rw"))]
    pages = one.number("len")
    return (
        f"unit_of[{one.map}] = {unit};",
        f"void *got = mmap(at({one.map}, 0), bytes({one.map}, {pages}), {prot},",
        f"\t\t {' | '.join([*flags, 'MAP_FIXED_NOREPLACE'])}, {behind});",
        "",
        f"return mapped({one.map}, got, {pages});",
    )


def _mremap(one: _Maker) -> tuple[str, ...]:
    pages = str(one.args.get("len", f"pages_of[{one.map}]"))
    new = str(one.args.get("new_len", pages))
    sizes = f"{one.span}, bytes({one.map}, {new})"
    if "to" in one.args:
        to = one.name("MAP", "to")
        return (
            f"unit_of[{to}] = unit_of[{one.map}];",
            f"void *got = mremap({sizes}, MREMAP_MAYMOVE | MREMAP_FIXED, at({to}, 0));",
            "",
            f"return mapped({to}, got, {new});",
        )
    end = f"{one.number('start')} + {new}"
    return (
        f"void *got = mremap({sizes}, 0);",
        "",
        "if (got == MAP_FAILED)",
        "\treturn -1;",
        f"if ({end} > pages_of[{one.map}])",
        f"\tpages_of[{one.map}] = {end};",
        "return 0;",
    )


def _mount(one: _Maker) -> str:
    unit = 1024 if one.giant("pagesize") else 2
    options = ["pagesize=1G" if one.giant("pagesize") else "pagesize=2M"]
    for key in ("size", "min_size"):
        if key in one.args:
            options.append(f"{key}={one.number(key) * unit}M")
        elif f"{key}_percent" in one.args:
            options.append(f"{key}={one.number(f'{key}_percent')}%")
    if "nr_inodes" in one.args:
        options.append(f"nr_inodes={one.number('nr_inodes')}")
    one.name("MOUNT", "mount")
    return f'return new_mount("{one.args["mount"]}", "{",".join(options)}");'


def _open(one: _Maker) -> tuple[str, ...]:
    path = f'in_mount("{one.args["mount"]}/{one.args["name"]}")'
    return (
        "struct statfs fs = { 0 };",
        f"int fd = open({path}, O_RDWR | O_CREAT | O_CLOEXEC, 0600);",
        "",
        "if (fd >= 0)",
        "\tfstatfs(fd, &fs);",
        f"return opened({one.name('FD', 'fd')}, fd, (unsigned long)fs.f_bsize);",
    )


def _memfd(one: _Maker) -> tuple[str, ...]:
    flags = (
        f"1U /* CLOEXEC */ | MFD_HUGETLB | (unsigned)({'HUGE_1G' if one.giant() else 'HUGE_2M'})"
    )
    return (
        f'long fd = syscall(SYS_memfd_create, "equivcheck", {flags});',
        "",
        f"return opened({one.name('FD', 'fd')}, fd, {one.unit()});",
    )


def _fallocate(one: _Maker) -> tuple[str, ...]:
    fd = one.name("FD", "fd")
    mode = _FALLOCATE[str(one.args.get("mode", "none"))]
    unit = f"(off_t)file_unit[{fd}]"
    return (
        f"return fallocate(file[{fd}], {mode},",
        f"\t\t {one.number('off')} * {unit}, {one.number('len')} * {unit});",
    )


def _ftruncate(one: _Maker) -> str:
    fd = one.name("FD", "fd")
    return f"return ftruncate(file[{fd}], {one.number('len')} * (off_t)file_unit[{fd}]);"


def _shmget(one: _Maker) -> tuple[str, ...]:
    shm = one.name("SHM", "shm")
    huge = "HUGE_1G" if one.giant() else "HUGE_2M"
    flags = f"SHM_HUGETLB | {huge} | IPC_CREAT | 0600"
    flags += " | SHM_NORESERVE" if one.number("noreserve") else ""
    return (
        f"segments[{shm}] = shmget(IPC_PRIVATE, {one.number('len')} * {one.unit()}, {flags});",
        f"return segments[{shm}] < 0 ? -1 : 0;",
    )


def _shmat(one: _Maker) -> tuple[str, ...]:
    shm = one.name("SHM", "shm")
    return (
        "struct shmid_ds segment = { 0 };",
        "",
        f"unit_of[{one.map}] = SIZE_2M;",
        f"shmctl(segments[{shm}], IPC_STAT, &segment);",
        f"return mapped({one.map}, shmat(segments[{shm}], at({one.map}, 0), 0),",
        "\t      (long)(segment.shm_segsz / SIZE_2M));",
    )


def _shm_rmid(one: _Maker) -> tuple[str, ...]:
    shm = one.name("SHM", "shm")
    return (
        f"int id = segments[{shm}];",
        "",
        f"segments[{shm}] = -1;",
        "return shmctl(id, IPC_RMID, NULL);",
    )


def _node_pool(one: _Maker) -> str:
    size = "1048576kB" if one.giant() else "2048kB"
    path = f'NODE "{one.number("node")}/hugepages/hugepages-{size}/nr_hugepages"'
    return f"return put_number({path}, {one.number('n')});"


def _demote(one: _Maker) -> str:
    if "node" in one.args:
        size = "1048576kB" if one.giant(default="1G") else "2048kB"
        path = f'NODE "{one.number("node")}/hugepages/hugepages-{size}/demote"'
    else:
        path = f'{one.pool("1G")} "demote"'
    return f"return put_number({path}, {one.number('n')});"


def _group(one: _Maker) -> str:
    one.name("CGROUP", "cgroup")
    return f"equivcheck-{one.args['cgroup']}"


def _cgroup_set(one: _Maker) -> str:
    file = f"{_group(one)}/hugetlb.{'1GB' if one.giant() else '2MB'}.{one.args['file']}"
    if one.args["value"] == "max":
        return f'return put(in_cgroups("{file}"), "max");'
    return (
        f'return put_number(in_cgroups("{file}"), {one.number("value")} * (long long){one.unit()});'
    )


def _cgroup_attach(one: _Maker) -> str:
    root = one.args["cgroup"] == "/"
    procs = "cgroup.procs" if root else f"{_group(one)}/cgroup.procs"
    return f'return move_to_cgroup("{procs}", {one.name("PROC", "target")});'


def _cgroup_mems(one: _Maker) -> str:
    nodes = str(one.args["nodes"]).strip("-")
    return f'return put(in_cgroups("{_group(one)}/cpuset.mems"), "{nodes}\\n");'


def _pool_file(one: _Maker, name: str) -> str:
    return f'"/proc/sys/vm/{name}"' if one.number("sysctl") else f'{one.pool()} "{name}"'


def _uffd(text: Callable[[_Maker], str]) -> Callable[[_Maker], str]:
    def maker(one: _Maker) -> str:
        one.names.parts.add("uffd")
        return text(one)

    return maker


def _uffd_register(one: _Maker) -> str:
    return f"return watch({one.range}, {_UFFD_MODE[str(one.args.get('mode', 'missing'))]});"


def _pages(one: _Maker) -> str:
    return f"{one.map}, {one.number('page')}, {one.number('len', 1)}"


def _pin(one: _Maker) -> str:
    one.names.parts.add("pin")
    return f"return pin({one.name('PIN', 'pin')}, {one.range});"


def _unpin(one: _Maker) -> str:
    one.names.parts.add("pin")
    return f"return unpin({one.name('PIN', 'pin')});"


_CALLS: Final[Mapping[str, Callable[[_Maker], str | tuple[str, ...]]]] = {
    "spawn": lambda one: f"return start({one.name('PROC', 'id')});",
    "fork": lambda one: f"return fork_into({one.name('PROC', 'child')});",
    "exit": lambda one: f"return leave({one.name('PROC', 'proc')});",
    "kill": lambda one: f"return end({one.name('PROC', 'proc')});",
    "mmap": _mmap,
    "munmap": lambda one: f"return munmap({one.span});",
    "mremap": _mremap,
    "mprotect": lambda one: f"return mprotect({one.span}, {_PROT[str(one.args['prot'])]});",
    "touch_read": lambda one: f"return load({one.map}, {one.number('page')});",
    "touch_write": lambda one: f"return store({one.map}, {one.number('page')}, {one.value});",
    "madvise": lambda one: f"return madvise({one.span}, {_ADVICE[str(one.args['advice'])]});",
    "mbind": lambda one: (
        f"return policy({one.range}, {_POLICY[str(one.args['mode'])]}, {one.mask('nodes')});"
    ),
    "set_mempolicy": lambda one: (
        f"return own_policy({_POLICY[str(one.args['mode'])]}, {one.mask('nodes')});"
    ),
    "migrate_pages": lambda one: (
        f"return move_pages_between({one.mask('from')}, {one.mask('to')});"
    ),
    "sched_setaffinity": lambda one: f"return pin_to_cpu({one.number('cpu')});",
    "open": _open,
    "memfd_create": _memfd,
    "close": lambda one: f"return close(closed({one.name('FD', 'fd')}));",
    "ftruncate": _ftruncate,
    "fallocate": _fallocate,
    "unlink": lambda one: f'return unlink(in_mount("{one.args["mount"]}/{one.args["name"]}"));',
    "shmget": _shmget,
    "shmat": _shmat,
    "shm_rmid": _shm_rmid,
    "mount": _mount,
    "umount": lambda one: f'return umount2(in_mount("{one.args["mount"]}"), 0);',
    "set_nr_hugepages": lambda one: (
        f"return put_number({_pool_file(one, 'nr_hugepages')}, {one.number('n')});"
    ),
    "set_nr_overcommit_hugepages": lambda one: (
        f"return put_number({_pool_file(one, 'nr_overcommit_hugepages')}, {one.number('n')});"
    ),
    "set_nr_hugepages_mempolicy": lambda one: (
        f"return put_number({_pool_file(one, 'nr_hugepages_mempolicy')}, {one.number('n')});"
    ),
    "set_node_nr_hugepages": _node_pool,
    "demote": _demote,
    "set_interleave_weight": lambda one: (
        'return put_number("/sys/kernel/mm/mempolicy/weighted_interleave/node'
        f'{one.number("node")}", {one.number("weight")});'
    ),
    "cgroup_create": lambda one: f'return new_cgroup("{_group(one)}");',
    "cgroup_rmdir": lambda one: f'return rmdir(in_cgroups("{_group(one)}"));',
    "cgroup_set": _cgroup_set,
    "cgroup_attach": _cgroup_attach,
    "cgroup_mems": _cgroup_mems,
    "uffd_register": _uffd(_uffd_register),
    "uffd_unregister": _uffd(lambda one: f"return unwatch({one.range});"),
    "uffd_copy": _uffd(
        lambda one: (
            f"return fill({_pages(one)}, {one.number('wp')}, {one.number('cold')}, {one.value});"
        )
    ),
    "uffd_continue": _uffd(lambda one: f"return resume({_pages(one)}, {one.number('wp')});"),
    "uffd_writeprotect": _uffd(
        lambda one: f"return protect({one.range}, {int(not one.number('resolve'))});"
    ),
    "pin": _pin,
    "unpin": _unpin,
}
