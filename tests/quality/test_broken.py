"""The built-in series with a mistake in it: the right pair diverges, the others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quality.command import found, pair, run

OPS = "2000"

MINIMAL = {
    "PATCH1": (
        1,
        "outcome.ret",
        """
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1 noreserve=1
        uffd_register proc=A map=m1
        uffd_copy proc=A map=m1 page=0
        """,
    ),
    "PATCH3": (
        3,
        "pool.hugepages-2048kB.resv",
        """
        world nr_hugepages=3
        spawn id=A
        mount mount=h0 min_size=2
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=private len=1 fd=f1 populate=1
        fork proc=A child=B
        touch_write proc=A map=m1 page=0
        """,
    ),
}


@pytest.mark.parametrize("name", MINIMAL)
def test_the_mistake_is_found_in_its_patch(name: str, tmp_path: Path) -> None:
    step, field, trace = MINIMAL[name]
    done = run(f"tests.quality.broken:{name}", tmp_path, "--ops", OPS)
    assert done.status == 1
    diverged = [p.after for p in done.result.pairs if p.verdict.value == "diverged"]
    assert diverged == [step]
    one = pair(done.result, step)
    assert found(one) == (field, tuple(line.strip() for line in trace.strip().splitlines()))
    assert {p.verdict.value for p in done.result.pairs if p.against == "self"} == {"no-divergence"}
