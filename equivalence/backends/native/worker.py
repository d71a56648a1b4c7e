"""The process that runs an image: started once, it forks a child for every trace.

Traces go in and results come out through shared memory; a request names a batch. The child of a
trace that crashes, hangs or stops is gone, the worker goes on with the next trace.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from equivalence.backends.native import sandbox
from equivalence.backends.native.boundaries import (
    TOGETHER_BYTES,
    Passed,
    Symbols,
    read_boundaries,
)
from equivalence.backends.native.encode import RECORD_BYTES
from equivalence.backends.native.errors import WorkerError
from models.schema.trace import TraceError

SECTIONS: Final = (
    "counters",
    "nodes",
    "lists",
    "subpools",
    "reservations",
    "page_cache",
    "page_tables",
    "vmas",
    "cgroups",
    "user",
    "policy",
    "effects",
)

_FRAMES, _TEXT, _EVENTS = 12, 160, 64
_RESULT = struct.Struct(f"<I4xqIIQIIQQQ{len(SECTIONS)}Q")
#: What is asked, the world, and the schedule: first operation, tasks, switches (point, task).
_ASKED = struct.Struct("<7Q32q")
MAX_SWITCHES: Final = 32
_SCHEDULE = struct.Struct(f"<3Q{2 * MAX_SWITCHES}I")
_HEAD = struct.Struct(_ASKED.format + _SCHEDULE.format[1:] + "3Q")
_FATAL = struct.Struct(f"<4I2Q{_FRAMES}Q{_TEXT}s")
_EVENT = struct.Struct(f"<2IQ64s{_TEXT}s")
_BRANCHES_AT, _BRANCHES = 192 << 10, 64
_KEY = struct.Struct(f"<{len(SECTIONS)}Q")
_KEY_AT = _HEAD.size + _FATAL.size + _EVENTS * _EVENT.size
_TRACE_BYTES = _KEY_AT + _KEY.size
_BRANCH_BYTES = 8 + _RESULT.size + _KEY.size
_HELLO: Final = 0x6E61746976650001
_DIGEST, _LAST_ONLY = 1, 2

SHARED_BYTES: Final = 256 << 20
COVERAGE_BYTES: Final = 1 << 20
_TOGETHER_AT: Final = SHARED_BYTES - COVERAGE_BYTES - TOGETHER_BYTES
_USABLE_BYTES: Final = _TOGETHER_AT
#: Bytes that a worker's process may make its own: the kernel refuses more.
DATA_BYTES: Final = 768 << 20
ENDINGS: Final = (
    "returned",
    "refused",
    "bug",
    "crash",
    "hang",
    "deadlock",
    "unmodelled",
    "corruption",
    "not run",
)


@dataclass(frozen=True, slots=True)
class RawSchedule:
    """``tasks`` operations from number ``at`` on (from 1) run together; ``switches`` as in a
    :class:`equivalence.schedule.Schedule`.
    """

    at: int
    tasks: int
    switches: tuple[tuple[int, int], ...] = ()

    def pack(self) -> bytes:
        """As the driver reads it.

        Raises:
            TraceError: more switches than the driver has room for.
        """
        if len(self.switches) > MAX_SWITCHES:
            msg = f"schedule: {len(self.switches)} switches, the native tier has {MAX_SWITCHES}"
            raise TraceError(msg)
        flat = [word for switch in self.switches for word in switch]
        flat += [0] * (2 * MAX_SWITCHES - len(flat))
        return _SCHEDULE.pack(self.at, self.tasks, len(self.switches), *flat)


@dataclass(frozen=True, slots=True)
class Job:
    """One encoded trace; ``world`` in the driver's order; ``observe`` also writes states down."""

    ops: bytes
    world: tuple[int, ...]
    digest: bool = True
    observe: bool = False
    last_only: bool = False
    seconds: float = 5.0
    schedule: RawSchedule | None = None

    @property
    def count(self) -> int:
        """Number of operations."""
        return len(self.ops) // RECORD_BYTES


@dataclass(frozen=True, slots=True)
class RawResult:
    """What the driver wrote for one operation (the first is the state before all operations)."""

    ending: int
    ret: int
    signal: int
    si_code: int
    value: int | None
    warnings: int
    warning_hash: int
    digest: tuple[int, ...]
    observation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fatal:
    """What ended a trace before its last operation: where, as addresses in the image."""

    op: int
    ending: int
    signal: int
    address: int
    frames: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """A WARN or a BUG: the function, the condition and the address in the image."""

    op: int
    kind: int
    address: int
    function: str
    text: str


@dataclass(frozen=True, slots=True)
class RawTrace:
    """Everything the driver wrote for one trace."""

    results: tuple[RawResult, ...]
    fatal: Fatal | None
    events: tuple[Event, ...]
    blob: bytes  # the result records, for comparing two runs at once


@dataclass(frozen=True)
class RawRun:
    """What the driver wrote for some operations of a session; read when it is asked for."""

    blob: bytes
    fatal: Fatal | None = None
    events: tuple[Event, ...] = ()

    @cached_property
    def results(self) -> tuple[RawResult, ...]:
        """One for each operation."""
        return tuple(
            [
                RawResult(
                    ending, ret, number, code, value if has_value else None, warnings, hashed,
                    tuple(digest), (),
                )
                for ending, ret, number, code, value, has_value, warnings, hashed, _, _, *digest
                in _RESULT.iter_unpack(self.blob)
            ]
        )  # fmt: skip


class Worker:
    """A running image."""

    def __init__(self, image: str, *, nodes: int = 2, giant: bool = False) -> None:
        """Start it.

        Raises:
            WorkerError: it does not come up; the message has its last words.
        """
        self._session_at = 0
        self._session_words = 0
        #: Offsets of the session's operations, results and words.
        self._session_head: tuple[int, ...] = ()
        #: First and last operation that were asked for and not yet answered.
        self._pending: tuple[int, int] | None = None
        self._ended = False
        #: A process that was forked later must leave this one's worker alone.
        self.owner = os.getpid()
        #: Rises with every session, so that who shares a worker knows whose it is.
        self.session = 0
        self._descriptor = os.memfd_create("equivcheck-native", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, SHARED_BYTES)
        self._memory = mmap.mmap(self._descriptor, SHARED_BYTES)
        filtered = str(int(sandbox.filters()))
        command = [image, str(SHARED_BYTES), str(nodes), str(int(giant)), filtered]
        apply_limits = sandbox.limits(cpu_seconds=24 * 3600, data=DATA_BYTES)
        descriptor = self._descriptor

        folder = [Path(os.path.dirname(image))]
        confine = sandbox.confinement(read=folder, system=False)

        def child() -> None:
            os.dup2(descriptor, 3)
            apply_limits()
            confine()

        # Nobody reads this pipe while the worker runs: what does not fit is lost, not waited for.
        self._errors, errors = os.pipe()
        os.set_blocking(errors, False)
        words = sandbox.wrap(command, read=folder, system=False)
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=child,
            pass_fds=(3,),
            bufsize=0,
        )
        os.close(errors)
        if self._reply(20.0) != _HELLO:
            said = self._last_words()
            self.close()
            raise WorkerError("the native worker did not start: " + said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def gone(self) -> bool:
        """Whether the process has ended, killed from outside perhaps."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Stop the process and give the memory back."""
        process = self._process
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        if not self._memory.closed:
            self._memory.close()
            os.close(self._descriptor)
            os.close(self._errors)

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        return os.read(self._errors, 4000).decode(errors="replace").strip() or "no message"

    def _reply(self, seconds: float) -> int | None:
        """The worker's next word; None if it died or took too long."""
        assert self._process.stdout is not None
        stream = self._process.stdout
        deadline = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([stream], [], [], min(0.25, seconds))
            if ready:
                data = os.read(stream.fileno(), 8)
                return int(struct.unpack("<Q", data)[0]) if len(data) == 8 else None
            if time.monotonic() > deadline:
                return None

    def run(self, jobs: Sequence[Job], *, decode: bool = True) -> list[RawTrace]:
        """Run traces, each in a child of its own.

        With ``decode`` false the results are only the blob of each trace.

        Raises:
            WorkerError: the worker itself died, or a trace is larger than the shared memory.
        """
        self.close_session()
        done: list[RawTrace] = []
        waiting = list(jobs)
        while waiting:
            batch: list[tuple[Job, int]] = []
            at = 8 * 1024
            while waiting and len(batch) < 1024:
                room = self._room(waiting[0])
                if at + room > _USABLE_BYTES:
                    break
                batch.append((waiting.pop(0), at))
                at += room
            if not batch:
                msg = f"a trace of {waiting[0].count} operations does not fit the shared memory"
                raise WorkerError(msg)
            for job, offset in batch:
                self._write(job, offset)
            offsets = [offset for _, offset in batch]
            self._memory[0 : 8 * len(offsets)] = struct.pack(f"<{len(offsets)}Q", *offsets)
            self._ask(0, len(batch))
            reply = self._reply(10 + 4 * sum(job.seconds for job, _ in batch))
            if reply != 0:
                raise WorkerError("the native worker stopped: " + self._last_words())
            done += [self._read(job, offset, decode=decode) for job, offset in batch]
        return done

    def coverage(self, part: tuple[int, int] = (0, COVERAGE_BYTES - 8)) -> bytes:
        """A part of the bitmap of blocks that ran since :meth:`forget_coverage`."""
        start = SHARED_BYTES - COVERAGE_BYTES
        return bytes(self._memory[start + part[0] : start + part[1]])

    def steps(self, since: int) -> tuple[int, ...]:
        """The steps from block to block that were new, from the ``since``-th on: the block come
        from in the upper half (0: none), the block come to in the lower half.
        """
        count = self.coverage_count()
        start = SHARED_BYTES - COVERAGE_BYTES // 2 + 8 * since
        return struct.unpack_from(f"<{max(0, count - since)}Q", self._memory, start)

    def coverage_count(self) -> int:
        """How many blocks ran since the last :meth:`forget_coverage`."""
        return int(struct.unpack_from("<Q", self._memory, SHARED_BYTES - 8)[0])

    def forget_coverage(self) -> None:
        """Start measuring afresh."""
        self._memory[SHARED_BYTES - COVERAGE_BYTES : SHARED_BYTES] = bytes(COVERAGE_BYTES)

    # A session: one trace whose operations come one at a time.

    def open_session(self, job: Job, capacity: int) -> None:
        """Boot the job's world in a child of its own, with room for ``capacity`` operations, and
        run the job's operations: one call. :meth:`session_receive` tells what came of it.

        Raises:
            WorkerError: the worker died.
        """
        self.close_session()
        self.session += 1
        self._session_words = 1 << 20
        filled = job.ops + bytes(RECORD_BYTES * (capacity - job.count))
        room = Job(filled, job.world, seconds=job.seconds)
        at = 8 * 1024
        size = self._room(room) + 8 * self._session_words
        if at + size > _USABLE_BYTES:
            msg = f"a session of {capacity} operations does not fit the shared memory"
            raise WorkerError(msg)
        self._write(room, at, words=self._session_words, ready=job.count)
        self._session_at = at
        self._session_head = _HEAD.unpack_from(self._memory, at)[1:4]
        self._ask(at, 0)
        self._pending = 0, job.count

    def session_send(self, first: int, records: bytes) -> None:
        """Start the operations from number ``first`` (from 1) on; do not wait for them."""
        where = self._session_head[0] + (first - 1) * RECORD_BYTES
        self._memory[where : where + len(records)] = records
        count = len(records) // RECORD_BYTES
        self._ask(count << 32 | first, 6)
        self._pending = first, first + count - 1

    def session_receive(self) -> RawRun:
        """Wait for what was sent: a result for each operation, up to one that ends the session.

        After :meth:`open_session` the first result is the state after booting.

        Raises:
            WorkerError: the worker died.
        """
        assert self._pending is not None
        first, last = self._pending
        self._settle()
        at = self._session_at
        fatal, notes = self._notes(at, _HEAD.unpack_from(self._memory, at)[-1])
        if self._ended:
            self._session_at = 0
        if fatal is not None:
            last = min(last, fatal.op)
        start = self._session_head[1] + first * _RESULT.size
        end = self._session_head[1] + (last + 1) * _RESULT.size
        return RawRun(self._memory[start:end], fatal, notes)

    def session_together(
        self, schedule: RawSchedule, records: Sequence[bytes]
    ) -> tuple[list[RawResult], RawTrace]:
        """Run operations together; the results of all, and the trace with that of the last."""
        at = self._session_at
        head = _HEAD.unpack_from(self._memory, at)
        where = head[1] + (schedule.at - 1) * RECORD_BYTES
        data = b"".join(records)
        self._memory[where : where + len(data)] = data
        place = at + _ASKED.size
        self._memory[place : place + _SCHEDULE.size] = schedule.pack()
        last = schedule.at + schedule.tasks - 1
        self._ask(last, 3)
        self._settle()
        fatal, notes = self._notes(at, _HEAD.unpack_from(self._memory, at)[-1])
        results = [
            self._result(head[2] + number * _RESULT.size, head[3], full=False)
            for number in range(schedule.at, last + 1)
        ]
        if self._ended:
            self._session_at = 0
        return results, RawTrace((results[-1],), fatal, notes, b"")

    def session_key(self) -> tuple[int, ...]:
        """The key of the present state, a word for each section."""
        self._session_order(0, 7)
        return _KEY.unpack_from(self._memory, self._session_at + _KEY_AT)

    def session_branches(
        self, number: int, records: Sequence[bytes]
    ) -> list[tuple[RawResult, tuple[int, ...]] | None]:
        """What each operation comes to as operation ``number``, and the key of the state after it;
        None for one that ends the session. The session stays as it is.

        Raises:
            WorkerError: the worker died.
        """
        made: list[tuple[RawResult, tuple[int, ...]] | None] = []
        for start in range(0, len(records), _BRANCHES):
            some = records[start : start + _BRANCHES]
            where = self._session_head[0] + number * RECORD_BYTES
            data = b"".join(some)
            self._memory[where : where + len(data)] = data
            self._session_order(len(some) << 32 | number, 8)
            for place in range(len(some)):
                at = _TOGETHER_AT + _BRANCHES_AT + place * _BRANCH_BYTES
                fatal = struct.unpack_from("<Q", self._memory, at)[0]
                result = self._result(at + 8, 0, full=False)
                key = _KEY.unpack_from(self._memory, at + 8 + _RESULT.size)
                made.append(None if fatal else (result, key))
        return made

    def session_mark(self) -> None:
        """Keep the present state, to be gone back to."""
        self._session_order(0, 4)

    def session_back(self, levels: int) -> None:
        """Go back to the last mark (1), or to one before it; it stays."""
        self._session_order(levels, 5)

    def _session_order(self, first: int, second: int) -> None:
        self._ask(first, second)
        if self._reply(20.0) != 0:
            raise WorkerError("the native session broke off: " + self._last_words())

    def together(self, symbols: Symbols) -> Passed:
        """The lock boundaries of the last operations that ran together."""
        view = memoryview(self._memory)
        try:
            return read_boundaries(view[_TOGETHER_AT : _TOGETHER_AT + TOGETHER_BYTES], symbols)
        finally:
            view.release()

    def session_look(self, number: int) -> tuple[int, ...]:
        """The words of the present state, after operation ``number``.

        Raises:
            WorkerError: the worker died.
        """
        self._ask(number, 1)
        self._pending = number, number
        self._settle()
        if self._ended:
            self._session_at = 0
            return ()
        start, observations = self._session_head[1:]
        return self._result(start + number * _RESULT.size, observations, full=True).observation

    def close_session(self) -> None:
        """End the session's child, if it still runs."""
        if self._pending is not None:
            self._settle()
            if self._ended:
                self._session_at = 0
        if self._session_at:
            self._ask(0, 2)
            self._reply(20.0)
            self._session_at = 0
            self.session += 1

    def _settle(self) -> None:
        """Wait for the answer to what was asked last."""
        self._pending = None
        reply = self._reply(60.0)
        if reply is None:
            raise WorkerError("the native worker stopped: " + self._last_words())
        self._ended = reply == 2

    def _ask(self, first: int, second: int) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack("<2Q", first, second))
        except BrokenPipeError:
            raise WorkerError("the native worker is gone: " + self._last_words()) from None

    def _room(self, job: Job) -> int:
        words = 2048 * (job.count + 1) if job.observe else 0
        size = _TRACE_BYTES + len(job.ops) + (job.count + 1) * _RESULT.size + 8 * words
        return (size + 4095) & ~4095

    def _write(self, job: Job, offset: int, words: int | None = None, ready: int = 0) -> None:
        ops = offset + _TRACE_BYTES
        results = ops + len(job.ops)
        observations = results + (job.count + 1) * _RESULT.size
        observations = (observations + 7) & ~7
        if words is None:
            words = (self._room(job) + offset - observations) // 8 if job.observe else 0
        flags = (_DIGEST if job.digest else 0) | (_LAST_ONLY if job.last_only else 0)
        world = (*job.world, *([0] * (31 - len(job.world))), ready)
        head = _ASKED.pack(
            job.count, ops, results, observations, words, flags, int(job.seconds * 1000), *world
        )
        head += (job.schedule or RawSchedule(0, 0)).pack()
        memory = self._memory
        memory[offset : offset + len(head)] = head
        blank = ops - offset - len(head)
        memory[offset + len(head) : ops] = bytes(blank)
        memory[ops:results] = job.ops
        memory[results:observations] = bytes(observations - results)

    def _read(self, job: Job, offset: int, *, decode: bool) -> RawTrace:
        memory = self._memory
        head = _HEAD.unpack_from(memory, offset)
        results, observations = head[2], head[3]
        finished, events = head[-3], head[-1]
        blob = bytes(memory[results : results + (job.count + 1) * _RESULT.size])
        fatal, notes = self._notes(offset, events)
        if not decode:
            return RawTrace((), fatal, notes, blob)
        last = finished if fatal is None else min(fatal.op, job.count)
        made = [
            self._result(results + number * _RESULT.size, observations, full=job.observe)
            for number in range(last + 1)
        ]
        return RawTrace(tuple(made), fatal, notes, blob)

    def _notes(self, offset: int, events: int) -> tuple[Fatal | None, tuple[Event, ...]]:
        memory = self._memory
        at = offset + _HEAD.size
        op, ending, number, frames, _pc, address, *rest = _FATAL.unpack_from(memory, at)
        fatal = None
        if ending:
            words = tuple(rest[:_FRAMES][: min(frames, _FRAMES)])
            fatal = Fatal(op, ending, number, address, words, _text(rest[-1]))
        notes: list[Event] = []
        at += _FATAL.size
        for _ in range(min(events, _EVENTS)):
            where, kind, address, function, text = _EVENT.unpack_from(memory, at)
            notes.append(Event(where, kind, address, _text(function), _text(text)))
            at += _EVENT.size
        return fatal, tuple(notes)

    def _result(self, at: int, observations: int, *, full: bool) -> RawResult:
        (ending, ret, number, code, value, has_value, warnings, warning_hash, first, count,
         *digest) = _RESULT.unpack_from(self._memory, at)  # fmt: skip
        words: tuple[int, ...] = ()
        if full and count:
            start = observations + 8 * first
            words = struct.unpack(f"<{count}Q", self._memory[start : start + 8 * count])
        return RawResult(
            ending, ret, number, code, value if has_value else None, warnings, warning_hash,
            tuple(digest), words,
        )  # fmt: skip


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


def signal_name(number: int) -> str:
    """``SIGBUS`` for 7, and so on."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
