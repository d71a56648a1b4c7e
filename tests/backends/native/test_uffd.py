"""Userfaultfd, folios of a file for a device and copies that fail, through the C."""

from __future__ import annotations

import pytest

from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.port import PortSystem
from equivalence.cli.choose import load_series, port_tier
from equivalence.subjects.hugetlb.series import STABLE
from equivalence.subjects.hugetlb.sides import NativeSide, PortSide, SideSystem
from models.schema.outcome import Outcome
from models.schema.trace import parse_trace

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

#: Each operation with what it returns: an errno, a signal, a word that was read, or nothing.
STEPS = (
    ("spawn id=A", None),
    ("mmap proc=A map=m1 type=private len=2", None),
    ("uffd_register proc=A map=m1 mode=all", None),
    ("touch_write proc=A map=m1 page=0", "SIGBUS"),
    # The first copy fails, so the folio is filled without locks and then once more.
    ("fail_copy what=user_atomic count=1", None),
    ("uffd_copy proc=A map=m1 page=0 wp=1", None),
    ("touch_read proc=A map=m1 page=0", 6),
    ("touch_write proc=A map=m1 page=0", "SIGBUS"),
    ("uffd_writeprotect proc=A map=m1 resolve=1", None),
    ("touch_write proc=A map=m1 page=0", 10),
    ("uffd_copy proc=A map=m1 page=0", "EEXIST"),
    ("fail_copy what=user_atomic count=1", None),
    ("fail_copy what=user count=1", None),
    ("uffd_copy proc=A map=m1 page=1", "EFAULT"),
    ("uffd_copy proc=A map=m1 page=1 cold=1", None),
    ("touch_read proc=A map=m1 page=1", 0),
    ("fork proc=A child=B", None),
    ("uffd_copy proc=B map=m1 page=1", "ENOENT"),
    ("fail_copy what=page count=1", None),
    ("touch_write proc=B map=m1 page=0", "SIGBUS"),
    ("memfd_create proc=A fd=f1", None),
    ("ftruncate proc=A fd=f1 len=1", None),
    ("mmap proc=A map=m2 type=shared len=1 fd=f1", None),
    ("memfd_pin_folios proc=A fd=f1 off=0 len=1 pin=p1", None),
    ("uffd_register proc=A map=m2 mode=minor", None),
    ("touch_read proc=A map=m2 page=0", "SIGBUS"),
    ("uffd_continue proc=A map=m2 page=0", None),
    ("touch_read proc=A map=m2 page=0", 0),
    ("unpin proc=A pin=p1", None),
    ("uffd_unregister proc=A map=m2", None),
    ("uffd_poison proc=A map=m2 page=0", "ENOENT"),
    ("exit proc=A", None),
)


def said(outcome: Outcome) -> str | int | None:
    """An outcome as the table has it."""
    assert outcome.ending == "returned", outcome
    return outcome.signal or outcome.errno or outcome.value


def test_the_c_returns_what_it_should_and_the_port_the_same(runner: Runner) -> None:
    text = "\n".join(op for op, _ in STEPS)
    trace = parse_trace(f"equivcheck-trace/1 hugetlb\nworld nr_hugepages=5\n{text}\n")
    native = SideSystem(NativeSide(NativeSystem(runner.image, runner=runner)))
    system = port_tier(load_series(STABLE)).system(len(load_series(STABLE).patches), evidence=False)
    assert isinstance(system, PortSystem)
    port = SideSystem(PortSide(system))
    for side in (native, port):
        side.boot(trace.world)
    for op, (_, expected) in zip(trace.ops, STEPS, strict=True):
        found = native.apply(op)
        assert said(found) == expected, op
        assert port.apply(op) == found, op
        assert port.observe() == native.observe(), op
