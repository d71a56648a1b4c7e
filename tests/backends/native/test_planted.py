"""Edits of 6.12.117: bugs are found, rewrites are not reported, endings are attributed."""

from collections.abc import Callable

import pytest

from equivalence.backends.native import sandbox
from equivalence.backends.native.build import NativeImage, build
from equivalence.backends.native.lockstep import compare, explain
from equivalence.backends.native.system import NativeSystem, Runner, run_trace
from equivalence.backends.native.tree import KernelTree
from equivalence.driver import Lockstep
from equivalence.explain import shrink_divergence
from equivalence.oracle import oracle_for
from equivalence.subjects.hugetlb.hosted import HostedSubject
from models.schema.trace import Op, Trace
from tests.backends.native import planted, recipes
from tests.backends.native.generated import traces
from tests.backends.native.recipes import Edit

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

Maker = Callable[[dict[str, str]], KernelTree]

TOUCH = Trace(
    "hugetlb",
    {"nodes": 1, "nr_hugepages": 2},
    (
        Op("spawn", {"id": "A"}),
        Op("mmap", {"proc": "A", "map": "m1", "type": "private", "len": 1}),
        Op("touch_write", {"proc": "A", "map": "m1", "page": 0}),
        Op("exit", {"proc": "A"}),
    ),
)


@pytest.mark.parametrize(("about", "edit"), recipes.PLANTED, ids=[a for a, _ in recipes.PLANTED])
def test_planted(
    about: str, edit: Edit, runner: Runner, sources: dict[str, str], edited: Maker
) -> None:
    """Each is seen, and explained by two different states or outcomes."""
    after = Runner(build(edited(recipes.apply(sources, [edit]))))
    try:
        drawn = traces(25, 200)
        found = compare(runner, after, drawn, seconds=0.5)
        assert found, about
        left, right = explain(runner, after, drawn[found[0].trace], found[0])
        assert left.outcome != right.outcome or left.observation != right.observation
    finally:
        after.close()


@pytest.mark.parametrize(("about", "edit"), recipes.REWRITES, ids=[a for a, _ in recipes.REWRITES])
def test_rewrites(
    about: str, edit: Edit, runner: Runner, sources: dict[str, str], edited: Maker
) -> None:
    after = Runner(build(edited(recipes.apply(sources, [edit]))))
    try:
        assert compare(runner, after, traces(25, 200), seconds=0.5) == [], about
    finally:
        after.close()


def _after(function: str, anchor: str, text: str) -> Edit:
    return Edit(function, anchor, f"{anchor}\n\t{text}")


ALLOC = ("alloc_hugetlb_folio", "idx = hstate_index(h);")
FREE = ("free_huge_folio", "folio_clear_hugetlb_migratable(folio);")
POISONED = "*(volatile int *)0xdead000000000000UL = 1;"
LOCK = "spin_lock(&hugetlb_lock); "
ENQUEUE = ("enqueue_hugetlb_folio", "h->free_huge_pages++;")
RELEASE = ("resv_map_release", "kfree(resv_map);")
FORK = '{ long r; asm volatile("syscall" : "=a"(r) : "a"(57L) : "rcx", "r11", "memory"); }'
#: How an operation ends, a word of the detail, the function that is named, and the edit.
ENDINGS = (
    ("crash", "invalid memory", "enqueue_hugetlb_folio", _after(*ENQUEUE, POISONED)),
    ("hang", "time limit", "hugetlb_fault",
     _after(*ALLOC, "while (READ_ONCE(h->order)) barrier();")),
    ("unmodelled", "soft_offline_page", "free_huge_folio",
     _after(*FREE, "soft_offline_page(0, 0);")),
    ("crash", "lock", "free_huge_folio", _after(*FREE, "spin_unlock(&hugetlb_lock);")),
    ("deadlock", "", "alloc_hugetlb_folio", _after(*ALLOC, LOCK * 2)),
    ("crash", "freed twice", "resv_map_release", _after(*RELEASE, "kfree(resv_map);")),
    ("bug", "idx == 0", "alloc_hugetlb_folio", _after(*ALLOC, "BUG_ON(idx == 0);")),
    ("crash", "memory limit", "alloc_hugetlb_folio",
     _after(*ALLOC, "while (kmalloc(1 << 16, GFP_KERNEL));")),
    ("crash", "memory limit", "alloc_hugetlb_folio",
     _after(*ALLOC, "for (long i = 1; i; i++) *((long *)PAGE_OFFSET + i * 512) = i;")),
    ("crash", "forbidden system call", "alloc_hugetlb_folio", _after(*ALLOC, f"for (;;) {FORK}")),
    ("crash", "output limit", "alloc_hugetlb_folio",
     _after(*ALLOC, 'for (long i = 0; i < 99999; i++) pr_err("x");')),
)  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "word", "function", "edit"),
    ENDINGS,
    ids=[f"{number}-{one[0]}" for number, one in enumerate(ENDINGS)],
)
def test_endings_are_attributed(
    ending: str, word: str, function: str, edit: Edit, sources: dict[str, str], edited: Maker
) -> None:
    """To the operation and the function of the C; and the run goes on."""
    if "system call" in word and not sandbox.filters():
        pytest.skip("this kernel has no seccomp")
    image: NativeImage = build(edited(recipes.apply(sources, [edit])))
    steps = run_trace(image, TOUCH, seconds=4 if "limit" in word and ending == "crash" else 0.5)
    last = steps[-1].outcome
    assert last.ending == ending, last
    assert word in last.detail
    assert f"{function} (mm/hugetlb.c)" in last.detail
    if ending != "hang":
        assert last.place.startswith("mm/hugetlb.c:")
    # the run goes on with the next trace
    assert run_trace(image, Trace("hugetlb", {}, TOUCH.ops[:1]))[-1].outcome.ret == 0


def test_use_after_free_is_seen(sources: dict[str, str], edited: Maker) -> None:
    """A write to a freed reservation map meets the allocator's poison."""
    edit = Edit(
        "resv_map_release",
        "kfree(resv_map);",
        "kfree(resv_map);\n\tresv_map->adds_in_progress = 1;",
    )
    image = build(edited(recipes.apply(sources, [edit])))
    again = (*TOUCH.ops, *(TOUCH.ops * 40))
    last = run_trace(image, TOUCH.with_ops(again), seconds=2)[-1].outcome
    assert last.ending == "crash"
    assert "freed object was written" in last.detail


def smallest(one: Runner, other: Runner, drawn: list[Trace]) -> Trace:
    """The first disagreement of the two, shrunk as a run would."""
    found = compare(one, other, drawn, seconds=0.3)
    assert found, "no disagreement"
    # the shortest first: it shrinks fastest
    first = min(found, key=lambda difference: difference.op)
    before, after = (NativeSystem(side.image, seconds=0.3) for side in (one, other))
    try:
        subject = HostedSubject()
        oracle = oracle_for(before, after, "state", subject.user_sections)
        lockstep = Lockstep(before, after, oracle)
        trace = drawn[first.trace].with_ops(drawn[first.trace].ops[: first.op])
        divergence = lockstep.run(trace)
        assert divergence is not None
        small = shrink_divergence(lockstep, trace, divergence, subject, lambda: False).trace
        assert lockstep.run(small) is not None
        return small
    finally:
        before.close()
        after.close()


@pytest.mark.nightly
@pytest.mark.parametrize(("about", "edit"), planted.PLANTED, ids=[a for a, _ in planted.PLANTED])
def test_planted_everywhere(
    about: str, edit: Edit, runner: Runner, sources: dict[str, str], edited: Maker
) -> None:
    """Each is found by random traces, and its trace becomes short."""
    after = Runner(build(edited(recipes.apply(sources, [edit]))))
    try:
        small = smallest(runner, after, traces(200, 120, seed=3))
        assert len(small.ops) <= 15, about
    finally:
        after.close()


@pytest.mark.nightly
@pytest.mark.parametrize(("about", "edits"), planted.REWRITES, ids=[a for a, _ in planted.REWRITES])
def test_rewrites_everywhere(
    about: str,
    edits: tuple[Edit, ...],
    runner: Runner,
    sources: dict[str, str],
    edited: Maker,
) -> None:
    after = Runner(build(edited(recipes.apply(sources, edits))))
    try:
        assert compare(runner, after, traces(200, 120, seed=3), seconds=0.3) == [], about
    finally:
        after.close()


def test_forty_bugs_and_fifteen_rewrites() -> None:
    """Those of every change and those of every night together, all different."""
    edits = {edit for _, edit in (*recipes.PLANTED, *planted.PLANTED)}
    assert len(edits) >= 40
    assert len(planted.REWRITES) >= 15
