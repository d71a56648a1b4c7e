"""Operations that run together on the C: switches, waiting, deadlocks, planted races, replay."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from equivalence.backends.native.build import NativeImage, build
from equivalence.backends.native.system import NativeSystem, Runner, run_traces
from equivalence.backends.native.tree import KernelTree
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.schedule import enumerate_switches
from equivalence.search import defects_in
from equivalence.subjects.hugetlb.hosted import HostedSubject
from models.schema.divergence import Divergence
from models.schema.outcome import Outcome
from models.schema.trace import Trace, TraceError, parse_trace
from tests.backends.native import recipes
from tests.backends.native.races import KEPT_VALUE, MOVED_CHECK, NO_LOCK, TWO_ORDERS
from tests.backends.native.recipes import Edit

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]
Maker = Callable[[dict[str, str]], KernelTree]


def trace(text: str, schedule: str = "") -> Trace:
    return replace(parse_trace(f"equivcheck-trace/1 hugetlb\n{text}"), schedule=schedule)


#: Two processes want the last page.
LAST_PAGE = """world nodes=1 nr_hugepages=1
spawn id=A
spawn id=B
mmap proc=A map=m1 type=private len=1 noreserve=1
mmap proc=B map=m2 type=private len=1 noreserve=1
touch_write proc=A map=m1 page=0
touch_write proc=B map=m2 page=0
"""
#: One takes a page that is not reserved, which the other reserves.
TAKE_AND_RESERVE = """world nodes=1 nr_hugepages=1
spawn id=A
spawn id=B
mmap proc=A map=m1 type=private len=1 noreserve=1
touch_write proc=A map=m1 page=0
mmap proc=B map=m2 type=private len=1
"""
#: Two processes reserve one page each of two.
TWO_RESERVE = """world nodes=1 nr_hugepages=2
spawn id=A
spawn id=B
mmap proc=A map=m1 type=private len=1
mmap proc=B map=m2 type=private len=1
"""
#: One maps a file while the other makes it empty.
MAP_AND_TRUNCATE = """world nodes=1 nr_hugepages=2
mount mount=h0
spawn id=A
spawn id=B
open proc=A fd=f1 mount=h0 name=x
open proc=B fd=f2 mount=h0 name=x
mmap proc=A map=m1 type=shared len=2 fd=f1
ftruncate proc=B fd=f2 len=0
"""


@pytest.fixture
def system(runner: Runner, image: NativeImage) -> NativeSystem:
    return NativeSystem(image, runner=runner)


def run(system: NativeSystem, given: Trace, switches: tuple[tuple[int, int], ...], at: int) -> Any:
    system.boot(given.world)
    for op in given.ops[:at]:
        system.apply(op)
    return system.apply_together(given.ops[at : at + 2], switches)


def test_a_switch_decides_who_gets_the_last_page(system: NativeSystem) -> None:
    given = trace(LAST_PAGE)
    plain = run(system, given, (), 4)
    assert [outcome.signal for outcome in plain.outcomes] == [None, "SIGBUS"]
    assert {task for task, _, _ in plain.boundaries} == {0, 1}
    assert plain.boundaries[0] == (0, "down_read", "mm->mmap_lock")
    assert (0, "spin_lock", "hugetlb_lock") in plain.boundaries
    assert (1, "mutex_unlock", "hugetlb_fault_mutex_table[i]") in plain.boundaries
    assert plain.inversions == ()
    seen = set()
    for point in range(len(plain.boundaries)):
        one = run(system, given, ((point, 1),), 4)
        assert one == run(system, given, ((point, 1),), 4)
        seen.add(tuple(outcome.signal for outcome in one.outcomes))
    assert seen == {(None, "SIGBUS"), ("SIGBUS", None)}


def test_one_waits_for_the_lock_that_the_other_holds(system: NativeSystem) -> None:
    given = trace(MAP_AND_TRUNCATE)
    plain = run(system, given, (), 5)
    point = plain.boundaries.index((0, "down_write", "inode->i_rwsem")) + 1
    held = run(system, given, ((point, 1),), 5)
    assert [outcome.ret for outcome in held.outcomes] == [0, 0]
    tasks = [task for task, what, name in held.boundaries if name == "inode->i_rwsem"]
    assert tasks == [0, 1, 0, 1]
    system.apply(given.ops[6])
    assert system.observe() == run_alone(system, given)


def run_alone(system: NativeSystem, given: Trace) -> Any:
    system.boot(given.world)
    for op in (*given.ops, given.ops[6]):
        system.apply(op)
    return system.observe()


def test_sending_nothing_changes_nothing(system: NativeSystem) -> None:
    run(system, trace(LAST_PAGE), (), 4)
    digest = system.digest("state")
    system.send([])
    assert system.receive().outcomes == ()
    assert system.digest("state") == digest


def test_a_whole_trace_runs_its_schedule(runner: Runner) -> None:
    first, last = run_traces(
        runner, [trace(LAST_PAGE, f"4-2/{word}") for word in ("", "0.1")], observe=True
    )
    ends = [[step.outcome.signal for step in steps[5:]] for steps in (first, last)]
    assert ends == [[None, "SIGBUS"], ["SIGBUS", None]]
    assert first[6].observation["page_tables"] != last[6].observation["page_tables"]
    words = ",".join(f"{point}.1" for point in range(33))
    many = trace(LAST_PAGE, f"4-2/{words}")
    with pytest.raises(TraceError, match="33 switches"):
        run_traces(runner, [many])


def test_states_are_kept_and_gone_back_to(system: NativeSystem) -> None:
    given = trace(LAST_PAGE)
    system.boot(given.world)
    kept = []
    for op in given.ops:
        kept.append((system.snapshot(), system.digest("state"), system.observe()))
        system.apply(op)
    for snapshot, digest, seen in [*kept[::-1], *kept]:
        system.restore(snapshot)
        assert system.digest("state") == digest
        assert system.observe() == seen
    system.restore(kept[4][0])
    assert system.apply(given.ops[4]) == Outcome(value=5)
    assert system.apply(given.ops[5]).signal == "SIGBUS"


def test_a_state_outlives_what_ends_the_system(image: NativeImage) -> None:
    system = NativeSystem(image, seconds=0.1)
    try:
        endless = trace(
            """world nodes=2 nr_hugepages=1
            spawn id=A
            set_mempolicy proc=A mode=bind nodes=1
            mmap proc=A map=m1 type=private len=1 noreserve=1
            """.replace("            ", "")
        )
        system.boot(endless.world)
        for op in endless.ops:
            system.apply(op)
        snapshot = system.snapshot()
        seen = system.observe()
        for _ in range(3):
            system.apply(endless.ops[0])
            system.restore(snapshot)
            assert system.observe() == seen
    finally:
        system.close()


@pytest.mark.parametrize(
    ("edits", "text", "at"),
    [
        (NO_LOCK, MAP_AND_TRUNCATE, 5),
        (KEPT_VALUE, TWO_RESERVE, 2),
        (MOVED_CHECK, TAKE_AND_RESERVE, 3),
    ],
    ids=["no lock", "kept value", "moved check"],
)
def test_planted_races_show_under_some_schedules_only(
    edits: tuple[Edit, ...],
    text: str,
    at: int,
    image: NativeImage,
    sources: dict[str, str],
    edited: Maker,
) -> None:
    one, two = NativeSystem(image), NativeSystem(build(edited(recipes.apply(sources, edits))))
    try:
        pair = Lockstep(one, two, oracle_for(one, two, "state", frozenset()))
        given = trace(text)
        assert pair.run(given) is None
        found: dict[str, Divergence] = {}
        for switches in enumerate_switches(40, 2, 1):
            words = ",".join(f"{point}.{task}" for point, task in switches)
            divergence = pair.run(replace(given, schedule=f"{at}-2/{words}"))
            if divergence is not None:
                found[words] = divergence
            if found or pair.moved:
                break
        assert found
        assert pair.moved or "" not in found
        word, divergence = next(iter(found.items()))
        again = pair.run(replace(given, schedule=f"{at}-2/{word}"))
        assert again is not None
        assert again.differences == divergence.differences
    finally:
        one.close()
        two.close()


def test_locks_in_either_order_are_a_defect_and_can_deadlock(
    sources: dict[str, str], edited: Maker
) -> None:
    system = NativeSystem(build(edited(recipes.apply(sources, TWO_ORDERS))))
    try:
        given = trace(MAP_AND_TRUNCATE)
        names = set()
        for switches in [(), *(((point, 1),) for point in range(24))]:
            words = ",".join(f"{point}.{task}" for point, task in switches)
            scheduled = replace(given, schedule=f"5-2/{words}")
            names |= {name for _, name, _ in defects_in(system, scheduled, HostedSubject())}
        orders = {name for name in names if name.startswith("lock order")}
        assert orders == {"lock order: inode->i_rwsem and resize mutex"}
        assert any(name.startswith("deadlock: waits for a lock") for name in names)
    finally:
        system.close()
