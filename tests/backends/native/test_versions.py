"""Another kernel from the same shim."""

from pathlib import Path

import pytest

from equivalence.backends.native.build import build
from equivalence.backends.native.lockstep import compare
from equivalence.backends.native.series import make_view
from equivalence.backends.native.system import Runner, run_trace, run_traces
from equivalence.backends.native.tree import open_tree
from models.schema.trace import parse_trace
from tests.backends.native import planted, recipes
from tests.backends.native.conftest import unpack
from tests.backends.native.generated import traces
from tests.backends.native.test_planted import smallest

pytestmark = [
    pytest.mark.needs_kernel_source("6.1"),
    pytest.mark.needs_kernel_source("6.12"),
    pytest.mark.needs_toolchain,
]


FULL = parse_trace(
    """equivcheck-trace/1 hugetlb
world nodes=2 nr_hugepages=4
spawn id=A
mount mount=h0 size=1
open proc=A fd=f1 mount=h0 name=x
mmap proc=A map=m1 type=shared len=2 fd=f1
fallocate proc=A fd=f1 off=0 len=1
mmap proc=A map=m2 type=private len=2
touch_write proc=A map=m2 page=0
fork proc=A child=B
touch_write proc=B map=m2 page=0
exit proc=A
"""
)


def test_6_1_does_what_is_asked() -> None:
    """Two versions that both die at once would agree with themselves, and with each other."""
    old = build(unpack("6.1"))
    outcomes = [step.outcome for step in run_trace(old, FULL)]
    assert [outcome.ending for outcome in outcomes] == ["returned"] * 11
    assert [outcome.errno for outcome in outcomes[1:8]] == [None, None, None, "ENOMEM", *[None] * 3]
    runner = Runner(old)
    try:
        steps = [
            step for trace in run_traces(runner, traces(20, 60), seconds=0.3) for step in trace
        ]
    finally:
        runner.close()
    succeeded = sum(step.outcome.ret == 0 for step in steps)
    assert succeeded > len(steps) // 3
    assert not [step for step in steps if step.outcome.ending in ("crash", "unmodelled")]


def test_6_1_runs_and_differs_from_6_12(runner: Runner) -> None:
    """It agrees with itself, and its known differences are found."""
    old, again = Runner(build(unpack("6.1"))), Runner(build(unpack("6.1")))
    try:
        drawn = traces(20, 200)
        assert compare(old, again, drawn, seconds=0.5) == []
        user = frozenset({"counters", "nodes"})
        found = compare(old, runner, drawn, sections=user, seconds=0.5)
        assert found
    finally:
        old.close()
        again.close()


@pytest.mark.nightly
def test_what_6_1_and_6_12_differ_in_is_shrunk(runner: Runner) -> None:
    """As if 6.12 were a patch on 6.1: short traces, each of which differs when run again."""
    old = Runner(build(unpack("6.1")))
    try:
        short = {}
        for seed in range(3):
            small = smallest(old, runner, traces(10, 60, seed=seed))
            short[tuple(op.kind for op in small.ops)] = small
            assert len(small.ops) <= 12
            assert compare(old, runner, [small], seconds=0.3)
        assert short
    finally:
        old.close()


@pytest.mark.nightly
def test_bugs_and_rewrites_on_6_1(scratch: Path) -> None:
    """Those whose code 6.1 has in the same words."""
    tree = unpack("6.1")
    sources = {recipes.HUGETLB: (tree.root / recipes.HUGETLB).read_text()}
    old = Runner(build(tree))
    bugs = [(edit, True) for _, edit in planted.PLANTED if edit.function in planted.ON_6_1]
    same = [(edit, False) for _, (edit,) in planted.REWRITES if edit.function in planted.ON_6_1]
    assert len(bugs) >= 6
    assert len(same) >= 3
    try:
        for number, (edit, differs) in enumerate([*bugs, *same]):
            held = scratch / f"{number}.c"
            held.write_text(recipes.apply(sources, [edit])[recipes.HUGETLB])
            make_view(tree.root, scratch / f"tree{number}", {recipes.HUGETLB: held})
            after = Runner(build(open_tree(scratch / f"tree{number}", [tree.root, scratch])))
            try:
                found = compare(old, after, traces(200, 120, seed=3), seconds=0.3)
                assert bool(found) == differs, edit
            finally:
                after.close()
    finally:
        old.close()
