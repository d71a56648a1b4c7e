import os
import signal
import threading
import time
from typing import Any

import pytest

from equivalence import jobs as module
from equivalence.jobs import (
    Job,
    Pool,
    ProcessDiedError,
    Stop,
    Worker,
    derive_seed,
    interruptible,
)
from models.schema.outcome import Outcome
from models.schema.trace import Op, Trace
from tests.toy import Toy, ToySubject, ToyTier, greedy, plenty

TAKE = Op("take", {"who": "A", "n": 3})


def worker(stop: Stop | None = None) -> Worker:
    return Worker(ToySubject(), ToyTier(plenty, greedy), "state", Stop() if stop is None else stop)


JOBS = [
    Job("kept", 0, 1, traces=(Trace("toy", {"pages": 5}, (TAKE,)),)),
    Job("machine", 0, 0, seed=derive_seed(1), ops=100),
    Job("sampler", 0, 0, seed=derive_seed(2), ops=300),
    Job("control", 1, 1, seed=derive_seed(3), ops=300),
    Job("sampler", 0, 1, seed=derive_seed(4), ops=3000),
]


def test_jobs_give_the_same_findings_here_and_elsewhere_in_their_order() -> None:
    with Pool(worker(), 1) as here, Pool(worker(), 2) as elsewhere:
        one, two = list(here.map(JOBS)), list(elsewhere.map(JOBS))
    assert one == two
    assert [f.ops for f in one[:1] + one[2:4]] == [1, 300, 300]
    assert one[1].ops >= 100
    assert one[4].divergence is not None


def test_jobs_that_nobody_asks_for_do_not_run() -> None:
    ran: list[str] = []

    class Counting(Worker):
        def run(self, job: Any) -> Any:
            ran.append(job.kind)
            return super().run(job)

    pool = Pool(Counting(ToySubject(), ToyTier(plenty), "state", Stop()), 1)
    parts = pool.map(JOBS[1:3])
    next(parts)
    parts.close()
    assert ran == ["machine"]
    with Pool(worker(), 2) as pool:
        parts = pool.map([JOBS[2]] * 50)
        next(parts)
        parts.close()


def test_a_system_is_made_once_for_each_step_and_side() -> None:
    one = worker()
    assert one.system(0, 0) is one.system(0, 0)
    assert one.system(0, 0) is not one.system(0, 1)
    assert one.lockstep(0, 0).before is one.system(0, 0)
    assert one.lockstep(0, 0).after is one.system(0, 1)


def test_a_stop_and_a_deadline_truncate_jobs() -> None:
    stop = Stop()
    assert not stop
    stop.set()
    assert stop
    assert worker(stop).run(JOBS[2]).truncated
    late = Job("sampler", 0, 0, ops=300, deadline=time.monotonic() - 1)
    assert worker().run(late).truncated
    early = Job("sampler", 0, 0, ops=300, deadline=time.monotonic() + 1000)
    assert not worker().run(early).truncated


def test_a_stop_reaches_other_processes() -> None:
    stop = Stop()
    with Pool(worker(stop), 2) as pool:
        stop.set()
        assert all(part.truncated for part in pool.map([JOBS[2]] * 4))


def test_processes_leave_ctrl_c_to_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_worker", None)
    previous = signal.getsignal(signal.SIGINT)
    try:
        one = worker()
        module._adopt(one)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert module._run(JOBS[0]) == one.run(JOBS[0])
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_process_that_dies_is_told_and_replaced() -> None:
    class Deadly(Toy):
        def op_take(self, who: str, n: int) -> Outcome:
            os.kill(os.getpid(), signal.SIGKILL)
            return super().op_take(who, n)

    subject = ToySubject()
    with Pool(Worker(subject, ToyTier(plenty, system=Deadly), "state", Stop()), 2) as pool:
        for _ in range(2):
            with pytest.raises(ProcessDiedError, match="a process of the search died"):
                list(pool.map([JOBS[2]]))


def test_a_seed_is_named_by_its_parts() -> None:
    assert derive_seed(1, "a") == derive_seed(1, "a")
    assert len({derive_seed(1, "a"), derive_seed(1, "b"), derive_seed(11, ""), derive_seed(1)}) == 4
    assert 0 <= derive_seed("x") < 1 << 63


def test_the_first_ctrl_c_stops_and_the_second_ends() -> None:
    stop = Stop()
    previous = signal.getsignal(signal.SIGINT)
    with interruptible(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is previous


def test_only_the_main_thread_can_take_ctrl_c() -> None:
    seen: list[object] = []

    def run() -> None:
        with interruptible(Stop()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
