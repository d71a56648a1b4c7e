"""Searches cut into jobs, and the processes that run them.

A job is small, has a seed of its own and knows nothing of other jobs of its round, and results are
taken in the order of the jobs. So a result does not depend on the number of processes or on which
of them was faster.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Literal, overload

from equivalence.control import ControlSession
from equivalence.driver import Lockstep
from equivalence.explorer import Expander, Expansion, Part
from equivalence.machine import search
from equivalence.oracle import Oracle, oracle_for
from equivalence.races import race
from equivalence.sampler import sample
from equivalence.search import Findings, Points, Session, replay
from equivalence.subject import Relation, Subject, System, Tier
from models.schema.trace import Trace

Kind = Literal["tasks", "kept", "examples", "machine", "sampler", "control"]


class Stop:
    """Says in all processes that the run must end; safe to set in a signal handler."""

    def __init__(self) -> None:
        self._flag: Any = RawArray("b", 1)

    def set(self) -> None:
        """End the run."""
        self._flag[0] = 1

    def __bool__(self) -> bool:
        return bool(self._flag[0])


@dataclass(frozen=True, slots=True)
class Job:
    """One search of one pair.

    ``traces`` are what a replay runs (kept ones thoroughly) and what the sampler varies, ``near``
    those near what has not run yet.
    ``deadline`` is a time of the monotonic clock, which all processes share. ``cache`` is
    Hypothesis's folder; only a job that always runs to its end may ``remember`` there what failed,
    or timing would change results.
    """

    kind: Kind
    before: int
    after: int
    seed: int = 0
    ops: int = 0
    traces: tuple[Trace, ...] = ()
    near: tuple[Trace, ...] = ()
    known: frozenset[str] = frozenset()
    seen: tuple[Points, Points] = ({}, {})
    deadline: float | None = None
    tasks: int = 1
    cache: Path | None = None
    remember: bool = False


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits from whatever names a job."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(sha256(text.encode()).digest()[:8]) >> 1


class Worker:
    """Runs jobs in one process; makes each system once and boots it for every trace."""

    def __init__(self, subject: Subject, tier: Tier, relation: Relation, stop: Stop) -> None:
        self.subject = subject
        self.tier = tier
        self.relation = relation
        self.stop = stop
        self._systems: dict[tuple[int, int], System] = {}

    def system(self, step: int, slot: int) -> System:
        """The system of a step; slots keep two systems of one step apart."""
        key = step, slot
        if key not in self._systems:
            effects = self.relation == "effects"
            self._systems[key] = self.tier.system(step, effects=effects)
        return self._systems[key]

    def oracle(self, before: int, after: int) -> Oracle:
        """What is compared between two steps."""
        one, other = self.system(before, 0), self.system(after, 1)
        return oracle_for(
            one, other, self.relation, self.subject.user_sections, self.subject.excluded
        )

    def lockstep(self, before: int, after: int) -> Lockstep:
        """The systems of two steps, side by side."""
        oracle = self.oracle(before, after)
        return Lockstep(self.system(before, 0), self.system(after, 1), oracle)

    @overload
    def run(self, job: Job) -> Findings: ...
    @overload
    def run(self, job: Expansion) -> Part: ...
    def run(self, job: Job | Expansion) -> Findings | Part:
        """Run one job to its end."""
        if isinstance(job, Expansion):
            lockstep = self.lockstep(job.before, job.after)
            return Expander(self.subject, lockstep, job.known).expand(job)
        make = ControlSession if job.kind == "control" else Session
        lockstep = self.lockstep(job.before, job.after)
        session = make(self.subject, lockstep, job.known, lambda: self._late(job), job.seen)
        generator = self.subject.generator()
        if job.kind in ("kept", "examples"):
            replay(session, job.traces, True if job.kind == "kept" else None)
        elif job.kind == "machine":
            search(session, generator, job.seed, job.ops, job.cache, job.remember)
        elif job.kind == "tasks":
            race(session, generator, Random(job.seed), job.ops, job.tasks)
        else:
            sample(session, generator, Random(job.seed), job.ops, job.traces, job.near)
        return session.close()

    def _late(self, job: Job) -> bool:
        return bool(self.stop) or (job.deadline is not None and time.monotonic() > job.deadline)


_worker: Worker | None = None


def _adopt(worker: Worker) -> None:
    """Start of a process: Ctrl-C reaches the parent, which tells us by the stop flag."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = worker
    # What the parent made stays: looking through it for garbage again and again is in vain.
    gc.freeze()


def _run(job: Any) -> Any:
    assert _worker is not None
    return _worker.run(job)


class ProcessDiedError(RuntimeError):
    """A process that ran jobs has gone."""


class Pool(AbstractContextManager["Pool"]):
    """Runs jobs in ``jobs`` processes, or here if that is 1."""

    def __init__(self, worker: Worker, jobs: int) -> None:
        self._worker = worker
        self._jobs = jobs
        self._executor = self._start() if jobs > 1 else None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    @overload
    def map(self, jobs: Iterable[Job]) -> Generator[Findings, None, None]: ...
    @overload
    def map(self, jobs: Iterable[Expansion]) -> Generator[Part, None, None]: ...
    def map(self, jobs: Iterable[Any]) -> Generator[Any, None, None]:
        """The findings of jobs, in their order; those not asked for are not run to their end.

        Raises:
            ProcessDiedError: a process is gone; the next jobs get new processes.
        """
        if self._executor is None:
            yield from map(self._worker.run, jobs)
            return
        futures: list[Future[Any]] = [self._executor.submit(_run, job) for job in jobs]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            self._executor.shutdown()
            self._executor = self._start()
            msg = "a process of the search died (killed, out of memory, or crashed in C)"
            raise ProcessDiedError(msg) from None
        finally:
            for future in futures:
                future.cancel()

    def _start(self) -> ProcessPoolExecutor:
        # Forked, so that subject and tier need not be sent: they hold functions.
        return ProcessPoolExecutor(self._jobs, get_context("fork"), _adopt, (self._worker,))


@contextmanager
def interruptible(stop: Stop) -> Iterator[None]:
    """Ctrl-C ends the run after the trace that is running; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
