"""The recorder agrees with recordings made before, and survives what a kernel may do to it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from equivalence.subjects.hugetlb import recorder
from equivalence.subjects.hugetlb.recorder.live import _result, full_world
from equivalence.subjects.hugetlb.recorder.parts import cache_directory

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.jsonl"))
KLOG = re.compile(r',"klog":\[.*?\](?=\}$)', re.MULTILINE)
FRAME = re.compile(r'"(\d):\d+"')

VICTIM = """
from equivalence.subjects.hugetlb import recorder
kernel = recorder.LiveKernel()
kernel.boot()
kernel.begin_trace({"nr_hugepages": 2})
print(kernel.pid, flush=True)
while True:
    kernel.apply("set_nr_hugepages", {"n": 1})
"""


def unchanging(text: str) -> str:
    """The trace's text without frame numbers and kernel log."""
    return FRAME.sub(r'"\1:frame"', KLOG.sub("", text))


@pytest.mark.needs_qemu
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recording_repeats(kernel: recorder.LiveKernel, path: Path) -> None:
    text = path.read_text()
    recorded = recorder.load(text)
    again = recorder.replay_trace(kernel, recorded)
    assert [str(found) for found in recorder.differences(recorded, again)] == []
    assert unchanging(recorder.dump(again)) == unchanging(text)


@pytest.mark.needs_qemu
def test_a_new_trace_is_recorded_against_live_answers(kernel: recorder.LiveKernel) -> None:
    seen: list[int] = []

    def operations() -> Iterator[tuple[str, dict[str, object]]]:
        yield "spawn", {"id": "A"}
        yield "mmap", {"proc": "A", "map": "m1", "type": "private", "len": 3}
        page = 0
        while seen[-1]:
            yield "touch_write", {"proc": "A", "map": "m1", "page": page}
            page += 1

    lines = recorder.record_trace(
        kernel,
        "t1",
        "scenario",
        "touch until nothing is free",
        None,
        {"nr_hugepages": 3},
        operations(),
        watch=lambda line: seen.append(line["pool"]["free"]),
    )
    assert seen == [3, 3, 2, 1, 0]
    assert lines[0]["world"] == full_world({"nr_hugepages": 3})
    assert lines[-1]["clean"] is True
    assert recorder.differences(lines, recorder.replay_trace(kernel, lines)) == []


@pytest.mark.needs_qemu
def test_a_refused_operation_uses_up_its_number(kernel: recorder.LiveKernel) -> None:
    kernel.begin_trace({"nr_hugepages": 1})
    kernel.apply("spawn", {"id": "A"})
    with pytest.raises(recorder.OperationRefusedError, match="mapping 'm1' does not exist"):
        kernel.apply("touch_read", {"proc": "A", "map": "m1", "page": 0})
    assert kernel.apply("exit", {"proc": "A"})["i"] == 3
    assert kernel.end_trace()["clean"]


@pytest.mark.needs_qemu
def test_a_trace_in_progress_is_neither_forgotten_nor_begun_twice(
    kernel: recorder.LiveKernel,
) -> None:
    kernel.begin_trace({})
    with pytest.raises(recorder.RecorderError, match="a trace is in progress"):
        kernel.begin_trace({})
    with pytest.raises(recorder.RecorderError, match="a trace is in progress"):
        recorder.run(kernel, Path(sys.executable))
    kernel.end_trace()
    with pytest.raises(recorder.RecorderError, match=r"begin_trace\(\) first"):
        kernel.apply("spawn", {"id": "A"})


@pytest.mark.needs_qemu
def test_a_hung_guest_is_ended_and_the_next_trace_boots(kernel: recorder.LiveKernel) -> None:
    kernel.begin_trace({"nr_hugepages": 1})
    pid, boots = kernel.pid, kernel.boots
    kernel.request_seconds, patience = 1.0, kernel.request_seconds
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(recorder.GuestHungError):
        kernel.apply("spawn", {"id": "A"})
    kernel.request_seconds = patience
    assert not Path(f"/proc/{pid}").exists()
    assert not kernel.running
    assert not kernel.tracing
    assert kernel.begin_trace({"nr_hugepages": 1})["pool"]["nr"] == 1
    assert kernel.boots == boots + 1
    assert kernel.end_trace()["clean"]


HELLO = r"""
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
int main(void)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "w");
    fputs("1", file);
    fclose(file);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    char *page = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (page == MAP_FAILED)
        return 1;
    strcpy(page, "caf\xc3\xa9");
    printf("%s \"quoted\"\n", page);
    return 3;
}
"""
STUCK = """
#include <unistd.h>
int main(void) { if (write(1, "stuck", 5) == 5) for (;;) pause(); return 0; }
"""
CRASH = """
#include <fcntl.h>
#include <unistd.h>
int main(void) { return write(open("/proc/sysrq-trigger", O_WRONLY), "c", 1) != 1; }
"""


@pytest.mark.needs_qemu
def test_programs_run_under_the_kernel(kernel: recorder.LiveKernel) -> None:
    result = recorder.run_source(kernel, HELLO)
    assert result == recorder.ProgramResult(3, None, False, 'café "quoted"\n')


@pytest.mark.needs_qemu
def test_a_stuck_program_is_ended_and_a_crashed_kernel_reported(
    kernel: recorder.LiveKernel,
) -> None:
    stuck = recorder.run_source(kernel, STUCK, seconds=0.5)
    assert stuck == recorder.ProgramResult(None, 9, True, "stuck")
    with pytest.raises(recorder.GuestDiedError):
        recorder.run_source(kernel, CRASH)
    assert any("sysrq triggered crash" in line for line in kernel.console())


def gone(pid: int) -> bool:
    """Whether a process has ended; without its parent it may wait for process 1 to notice."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.needs_qemu
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_recorder_leaves_nothing(
    kernel: recorder.LiveKernel, number: signal.Signals, tmp_path: Path
) -> None:
    kernel.close()
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as victim:
        assert victim.stdout is not None
        pid = int(victim.stdout.readline())
        victim.send_signal(number)
        victim.wait(timeout=30)
        # End of file: nobody holds the pipe any more.
        assert victim.stdout.read() == ""
    end = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < end, "the emulator outlives its recorder"
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    # Where a download or a compilation leaves its unfinished work; others use the cache as well.
    for folder in (cache_directory(), cache_directory() / "kernels"):
        assert list(folder.glob(".compile-*")) == list(folder.glob(".download-*")) == []


def test_a_world_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(recorder.OperationRefusedError, match="nodes is 3, expected 2"):
        full_world({"nodes": 3})
    with pytest.raises(recorder.OperationRefusedError, match="nr_hugepages is -1, expected"):
        full_world({"nr_hugepages": -1})
    with pytest.raises(recorder.OperationRefusedError, match="colour is 1, expected to be left"):
        full_world({"colour": 1})


def test_half_a_trace_is_refused() -> None:
    with pytest.raises(recorder.OperationRefusedError, match="not a whole trace"):
        recorder.replay_trace(recorder.LiveKernel(), recorder.load(RECORDED[0].read_text())[:-1])


@pytest.mark.parametrize(
    ("number", "name"), [(12, "ENOMEM"), (95, "EOPNOTSUPP"), (133, "EHWPOISON"), (524, "E524")]
)
def test_every_errno_has_a_name(number: int, name: str) -> None:
    assert _result([-1, number, 0, 0, None], touched=False) == {"ret": -1, "errno": name}
