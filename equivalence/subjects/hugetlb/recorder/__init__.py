"""Record what a real kernel does, in the format hugetlb-trace/1.

A Debian kernel runs in QEMU (TCG, two nodes of 512 MB) with one C program of ours as its only
user space. Nothing is installed; what is missing is named with the command that installs it.

::

    from equivalence.subjects.hugetlb import recorder

    with recorder.LiveKernel() as kernel:                 # boots; about 5 s
        initial = kernel.begin_trace({"nr_hugepages": 4})
        line = kernel.apply("spawn", {"id": "A"})         # one operation line, as in the format
        tail = kernel.end_trace()                         # not clean: the next trace reboots

        lines = recorder.record_trace(
            kernel, "s01_example", "scenario", "what it shows", None,
            {"nr_hugepages": 4}, [("spawn", {"id": "A"})],
        )
        text = recorder.dump(lines)                       # the file's text
        again = recorder.replay_trace(kernel, lines)      # the same operations once more
        assert not recorder.differences(lines, again)

        result = recorder.run_source(kernel, c_text)      # a C program under this kernel

Operations and fields are those of the format; `operations.py` lists the documented extensions.
The API prints nothing. Errors are in `errors.py`; each message is one fit for the user. After
`GuestDiedError` and `GuestHungError` the same `LiveKernel` goes on with a fresh boot at the next
`begin_trace`. An interruption (also SIGKILL) leaves no process and no file behind but the cache.
"""

from __future__ import annotations

from equivalence.subjects.hugetlb.recorder.errors import (
    GuestDiedError,
    GuestHungError,
    MissingPartError,
    OperationRefusedError,
    RecorderError,
    UnsettledError,
)
from equivalence.subjects.hugetlb.recorder.expect import ProgramResult, run, run_source
from equivalence.subjects.hugetlb.recorder.live import LiveKernel
from equivalence.subjects.hugetlb.recorder.operations import operations
from equivalence.subjects.hugetlb.recorder.parts import RECORDED_RELEASE, find_parts
from equivalence.subjects.hugetlb.recorder.record import dump, load, record_trace, replay_trace
from equivalence.subjects.hugetlb.recorder.same import Difference, canonical, differences

__all__ = [
    "RECORDED_RELEASE",
    "Difference",
    "GuestDiedError",
    "GuestHungError",
    "LiveKernel",
    "MissingPartError",
    "OperationRefusedError",
    "ProgramResult",
    "RecorderError",
    "UnsettledError",
    "canonical",
    "differences",
    "dump",
    "find_parts",
    "load",
    "operations",
    "record_trace",
    "replay_trace",
    "run",
    "run_source",
]
