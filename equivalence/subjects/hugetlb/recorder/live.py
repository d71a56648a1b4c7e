"""A real kernel, asked operation by operation: `LiveKernel`."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from equivalence.subjects.hugetlb.recorder.errors import (
    GuestDiedError,
    GuestHungError,
    OperationRefusedError,
    RecorderError,
    UnsettledError,
)
from equivalence.subjects.hugetlb.recorder.guest import NODE_MB, NODES, Machine
from equivalence.subjects.hugetlb.recorder.names import Names
from equivalence.subjects.hugetlb.recorder.operations import translate
from equivalence.subjects.hugetlb.recorder.parts import Parts, find_parts

Json = dict[str, Any]

PAGE_SIZE_KB = 2048

_PAGE_MB = PAGE_SIZE_KB // 1024
_POOL = ("nr", "free", "resv", "surplus", "overcommit")
_NODE = ("nr", "free", "surplus")
_MOUNT = ("f_blocks", "f_bfree", "f_bavail")
_CGROUP = ("current", "rsvd.current", "max", "rsvd.max", "events_max")
_FILE = ("size", "blocks", "nlink")
_SIGNALS = {7: "SIGBUS", 11: "SIGSEGV"}

#: Numbers for which the standard library has no name, or one that Linux does not use.
_ERRNO = {errno.EOPNOTSUPP: "EOPNOTSUPP", 133: "EHWPOISON"}

_PRESENT = 1 << 63
_SWAP = 1 << 62
_FRAME = (1 << 55) - 1
_UNREADABLE = (1 << 64) - 1
_BASE_PAGES = PAGE_SIZE_KB // 4

#: Operations and advice that take memory out of use for good.
_POISONS = {"hwpoison", "soft_offline", "hard_offline"}

_PROCESS_ID = re.compile(r"\b(PID:? |init:) *\d+")


class LiveKernel:
    """One booted kernel that runs one trace after the other; use it as a context manager.

    Arguments: `release` and `kernel` as for `parts.find_parts`; `request_seconds` is the longest
    that one operation may take, `boot_seconds` the same for a boot. The thread that boots the
    kernel must outlive it.
    """

    def __init__(
        self,
        *,
        release: str | None = None,
        kernel: Path | None = None,
        request_seconds: float = 60.0,
        boot_seconds: float = 180.0,
    ) -> None:
        self._release = release
        self._kernel = kernel
        self.request_seconds = request_seconds
        """The longest that one operation may take, in seconds."""
        self._boot_seconds = boot_seconds
        self._parts: Parts | None = None
        self._machine: Machine | None = None
        self._hello: Json = {}
        self._names: Names | None = None
        self._i = 0
        self._last: Json = {}
        self._dirty = False
        self._poisoned = False
        self._said: list[str] = []
        self.boots = 0
        """How often a kernel was booted so far."""

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def boot(self) -> None:
        """Boot a fresh kernel, ending the one that ran.

        Raises `MissingPartError` if something is not installed, `GuestDiedError` if it does not
        come up.
        """
        self.close()
        if self._parts is None:
            self._parts = find_parts(self._release, self._kernel)
        machine, hello = self._greeted(self._parts)
        if hello["nodes"] != NODES or hello["cpu0_node"] != 0:
            machine.close()
            msg = (
                f"record: the guest has {hello['nodes']} nodes, CPU 0 on node "
                f"{hello['cpu0_node']}; expected {NODES} and 0: use a kernel with NUMA"
            )
            raise GuestDiedError(msg)
        self._machine, self._hello = machine, hello
        self._dirty = False
        self.boots += 1

    def _greeted(self, parts: Parts) -> tuple[Machine, Json]:
        """A machine that came up, and its first answer.

        Emulated time sometimes jumps while a loaded host boots a guest, and its kernel dies of it:
        a boot is tried again before it counts as one that fails.
        """
        for last in (False, False, True):
            machine = Machine(parts)
            try:
                return machine, machine.ask("hello", self._boot_seconds)
            except GuestDiedError as error:
                machine.close()
                if last or isinstance(error, GuestHungError):
                    raise
            except BaseException:
                machine.close()
                raise
        raise AssertionError

    def close(self) -> None:
        """End the machine; harmless if none runs. A trace in progress is lost."""
        self._names = None
        if self._machine is not None:
            self._machine.close()
            self._said = self._machine.console()
            self._machine = None

    @property
    def running(self) -> bool:
        """Whether a kernel is up."""
        return self._machine is not None and self._machine.running

    @property
    def pid(self) -> int:
        """The emulator's process id, also its group's. Raises `RecorderError` before boot."""
        return self._need_machine().pid

    @property
    def tracing(self) -> bool:
        """Whether a trace was begun and not ended."""
        return self._names is not None

    @property
    def version(self) -> Json:
        """`release` and `version` of uname(2) in the guest. Raises `RecorderError` before boot."""
        self._need_machine()
        return {"release": self._hello["release"], "version": self._hello["version"]}

    def console(self) -> list[str]:
        """Return the last lines of the guest's console; after it ended, what it said last."""
        return self._said if self._machine is None else self._machine.console()

    def begin_trace(self, world: Mapping[str, Any]) -> Json:
        """Bring the pool's cursors to node 0, fill the pool and return the `initial` state.

        Of `world`, `nr_hugepages` and `nr_overcommit_hugepages` (huge pages; default 0) are
        used; what else it says must be what this recorder does. A kernel that a trace left
        unclean, or that a failure ended, is booted anew first. Raises `OperationRefusedError` for a
        world that cannot be made, `RecorderError` if a trace is in progress.
        """
        made = full_world(world)
        if self.tracing:
            msg = "record: a trace is in progress; end it before the next"
            raise RecorderError(msg)
        if self._dirty or not self.running:
            self.boot()
        answer = self._ask(
            f"begin {made['nr_hugepages']} {made['nr_overcommit_hugepages']}",
        )
        self._names = Names()
        self._poisoned = False
        self._i = 0
        self._dirty = True
        self._last = self._state(answer, self._names)
        return {key: self._last[key] for key in ("pool", "nodes", "mounts", "procs")}

    def apply(self, op: str, args: Mapping[str, Any]) -> Json:
        """Do one operation and return its line: number, result, and all counters after it.

        Raises `OperationRefusedError` (the kernel never saw it; its number is used up, and the
        trace goes on), `GuestDiedError` or `GuestHungError` (the trace is lost, the next one boots
        anew).
        """
        names = self._need_names()
        self._i += 1
        request = translate(names, self._i, op, args)
        answer = self._ask(request.line)
        result = _result(answer["result"], touched=op in ("touch_read", "touch_write"))
        if result["ret"] == 0:
            request.on_success()
            self._poisoned |= {op, args.get("advice")} & _POISONS != set()
        self._last = self._state(answer, names)
        line: Json = {"i": self._i, "op": op, "args": dict(args), "result": result, **self._last}
        log = [_PROCESS_ID.sub(r"\1?", _text(entry)) for entry in answer["klog"]]
        return {**line, "klog": log} if log else line

    def refuses(self, op: str, args: Mapping[str, Any]) -> bool:
        """Whether `apply` would refuse this operation now."""
        try:
            translate(self._need_names(), self._i + 1, op, args)
        except OperationRefusedError:
            return True
        return False

    def end_trace(self) -> Json:
        """Tear everything down and return the tail; `clean` says what the kernel was left like.

        Raises `UnsettledError` if the counters changed after the last operation had returned.
        """
        names = self._need_names()
        settled = self._state(self._ask("settle"), names)
        if settled != self._last:
            msg = "record: counters changed 10 ms after the last operation; record the trace again"
            self.close()
            raise UnsettledError(msg)
        for _, name in names.slots:
            if any(True for _ in names.process(name).pins):
                # Teardown kills, and a killed process would unpin some time after.
                self._ask(translate(names, self._i + 1, "exit", {"proc": name}).line)
        answer = self._ask("end")
        self._names = None
        idle = dict(zip(_POOL, answer["idle"], strict=False))
        empty = dict(zip(_POOL, answer["empty"], strict=False))
        clean = (
            answer["busy"] == 0
            and idle["nr"] == idle["free"]
            and idle["resv"] == idle["surplus"] == 0
            and not any(empty.values())
        )
        # Memory taken out of use stays out, whatever the counters say.
        self._dirty = self._poisoned or not clean
        return {
            "end": True,
            "clean": clean,
            "busy": answer["busy"],
            "idle": idle,
            "empty": empty,
        }

    def run(self, program: bytes, seconds: float) -> Json:
        """Run a static executable in the guest; see `expect.run`, which wraps this."""
        if self.tracing:
            msg = "record: a trace is in progress; end it before running a program"
            raise RecorderError(msg)
        if self._dirty or not self.running:
            self.boot()
        self._dirty = True
        limit = round(seconds * 1000)
        # The guest's own limit comes first; ours only ends a guest that hangs.
        most = 2 * seconds + self.request_seconds
        answer = self._need_machine().ask(f"run {len(program)} {limit}", most, program)
        return {**answer, "output": _text(answer["output"])}

    def _ask(self, request: str) -> Json:
        try:
            return self._need_machine().ask(request, self.request_seconds)
        except BaseException:
            self.close()
            raise

    def _need_machine(self) -> Machine:
        if self._machine is None:
            msg = "record: no kernel runs; boot() one, or use LiveKernel in a with statement"
            raise RecorderError(msg)
        return self._machine

    def _need_names(self) -> Names:
        if self._names is None:
            msg = "record: no trace is in progress; begin_trace() first"
            raise RecorderError(msg)
        return self._names

    def _state(self, answer: Json, names: Names) -> Json:
        state: Json = {
            "pool": _record(_POOL, answer["pool"]),
            "nodes": [_record(_NODE, node) for node in answer["nodes"]],
            "mounts": {
                name: _record(_MOUNT, answer["mounts"][str(slot)]) for slot, name in names.mounts
            },
        }
        groups = {
            name: _record(_CGROUP, answer["cgroups"][str(slot)]) for slot, name in names.cgroups
        }
        if groups:
            state["cgroups"] = groups
        state["procs"] = {
            name: _process(names, name, answer["procs"][str(slot)]) for slot, name in names.slots
        }
        names.shown = {name: process["maps"] for name, process in state["procs"].items()}
        return state


def full_world(world: Mapping[str, Any]) -> Json:
    """Return the whole `world` of a trace's head for what was asked for.

    Raises `OperationRefusedError` for a key that is unknown or a value this recorder cannot make.
    """
    made: Json = {
        "nr_hugepages": 0,
        "nr_overcommit_hugepages": 0,
        "nodes": NODES,
        "node_ranges_mb": [[node * NODE_MB, (node + 1) * NODE_MB] for node in range(NODES)],
        "init_and_worker_cpu": 0,
        "cpu0_node": 0,
        "next_nid_to_alloc_before_nr": 0,
        "next_nid_to_free_before_nr": 0,
    }
    for key, value in world.items():
        if key in ("nr_hugepages", "nr_overcommit_hugepages"):
            if not isinstance(value, int) or value < 0:
                msg = f"world: {key} is {value!r}, expected a number of huge pages"
                raise OperationRefusedError(msg)
            made[key] = value
        elif key not in made or made[key] != value:
            expected = repr(made[key]) if key in made else "to be left out"
            msg = f"world: {key} is {value!r}, expected {expected}: the recorder makes no other"
            raise OperationRefusedError(msg)
    return made


def _record(keys: tuple[str, ...], values: list[Any] | None) -> Json:
    if values is None:
        msg = "record: the guest could not read " + ", ".join(keys)
        raise GuestDiedError(msg)
    return dict(zip(keys, values, strict=True))


def _result(values: list[Any], *, touched: bool) -> Json:
    ret, number, signal, si_code, value = values
    if touched:
        result: Json = {"ret": ret, "errno": None}
        if signal:
            return {**result, "signal": _SIGNALS[signal], "si_code": si_code}
        return {**result, "value": value}
    failed = ret < 0
    result = {"ret": -1 if failed else 0, "errno": _errno_name(number) if failed else None}
    # Poisoned memory is announced to a process that did not touch it.
    return {**result, "signal": _SIGNALS[signal], "si_code": si_code} if signal else result


def _errno_name(number: int) -> str:
    return _ERRNO.get(number) or errno.errorcode.get(number, f"E{number}")


def _process(names: Names, name: str, state: Json | None) -> Json:
    if state is None:
        msg = f"record: process {name!r} died outside of its operations"
        raise GuestDiedError(msg)
    process = names.process(name)
    maps: Json = {}
    for slot, map_name in process.maps:
        entries = state["maps"][str(slot)]
        lost = process.lost[map_name]
        maps[map_name] = [
            "-" if gone else _page(entry) for gone, entry in zip(lost, entries, strict=True)
        ]
    return {
        "maps": maps,
        "fds": {fd: _record(_FILE, state["fds"][str(slot)]) for slot, fd in process.fds},
        "hugetlb_pages": state["hugetlb_pages"],
    }


def _page(entry: int) -> str | None:
    """Return what an entry of /proc/self/pagemap says, as the format writes it."""
    if entry == _UNREADABLE:
        msg = "record: the guest could not read /proc/self/pagemap"
        raise GuestDiedError(msg)
    if entry & _PRESENT:
        frame = (entry & _FRAME) // _BASE_PAGES
        return f"{frame * _PAGE_MB // NODE_MB}:{frame}"
    return "swap" if entry & _SWAP else None


def _text(latin: str) -> str:
    """Put together UTF-8 that the guest sent byte by byte."""
    return latin.encode("latin-1").decode("utf-8", errors="replace")
