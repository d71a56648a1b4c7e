"""Running traces and sessions on 6.12.117."""

import pytest

from equivalence.backends.native.build import NativeImage, build
from equivalence.backends.native.lockstep import compare
from equivalence.backends.native.system import NativeSystem, Runner, run_trace, run_traces
from equivalence.backends.native.tree import KernelTree
from equivalence.subject import WorldError
from models.schema.trace import Op, Trace, TraceError, parse_trace
from tests.backends.native.generated import traces

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

COW = parse_trace(
    """equivcheck-trace/1 hugetlb
world nodes=2 nr_hugepages=2
spawn id=A
mmap proc=A map=m1 type=private len=2
touch_write proc=A map=m1 page=0
touch_write proc=A map=m1 page=1
fork proc=A child=C
touch_write proc=C map=m1 page=0
touch_read proc=C map=m1 page=1
touch_read proc=C map=m9 page=1
"""
)


def test_outcomes_and_sections(image: NativeImage) -> None:
    steps = run_trace(image, COW)
    outcomes = [step.outcome for step in steps]
    assert outcomes[3].value == 3
    assert (outcomes[6].ret, outcomes[6].signal, outcomes[6].si_code) == (-1, "SIGBUS", 2)
    assert outcomes[7].value == 4
    assert outcomes[8].ending == "refused"
    counters = [step.observation["counters"]["2M"] for step in steps]
    assert (counters[2]["resv"], counters[2]["free"]) == (2, 2)
    assert (counters[4]["resv"], counters[4]["free"]) == (0, 0)
    pages = steps[5].observation["page_tables"]
    assert [page["folio"] for page in pages["A"]["m1"]] == [p["folio"] for p in pages["C"]["m1"]]
    assert not any(page["write"] for page in pages["A"]["m1"])
    [area] = steps[2].observation["vmas"]["A"]
    assert area["map"]["regions"] == []
    assert steps[4].observation["vmas"]["A"][0]["map"]["regions"] == [[0, 2, 0]]


def test_a_session_is_the_same_trace(image: NativeImage, runner: Runner) -> None:
    """One operation at a time, whole, and again after going back: the same states."""
    system = NativeSystem(image, runner=runner)
    whole = run_trace(image, COW)
    system.boot(COW.world)
    states = [system.observe()]
    digests = [system.digest("state")]
    for op in COW.ops:
        system.apply(op)
        states.append(system.observe())
        digests.append(system.digest("state"))
    for state, step in zip(states, whole, strict=True):
        assert {**state, "effects": step.observation["effects"]} == step.observation
    system.boot(COW.world)
    for op in COW.ops[:4]:
        system.apply(op)
    snapshot = system.snapshot()
    system.apply(Op("exit", {"proc": "A"}))
    assert system.digest("state") != digests[4]
    system.restore(snapshot)
    assert system.digest("state") == digests[4]
    assert system.observe() == states[4]
    system.close_session()


def test_equal_digests_are_equal_observations(runner: Runner) -> None:
    """Over random states, section by section."""
    seen: dict[tuple[int, int], object] = {}
    compared = 0
    for steps in run_traces(runner, traces(6, 120, seed=5), observe=True, seconds=0.5):
        for step in steps:
            if not step.words:
                continue
            for number, (digest, value) in enumerate(
                zip(step.digests, step.observation.values(), strict=True)
            ):
                # names of a trace are its own, so equal words may be called differently
                if number < 6:
                    known = seen.setdefault((number, digest), value)
                    compared += known is not value
                    if number in (0, 1, 4):
                        assert known == value
    assert compared > 500


def test_a_version_agrees_with_itself(image: NativeImage) -> None:
    """The A/A control, with two separate sets of workers."""
    one, two = Runner(image), Runner(image)
    try:
        assert compare(one, two, traces(20, 300), seconds=0.5) == []
    finally:
        one.close()
        two.close()


def test_no_operations_change_nothing(image: NativeImage, runner: Runner) -> None:
    """Nor is what was seen before forgotten."""
    system = NativeSystem(image, runner=runner)
    system.send(COW.ops[:4], COW.world)
    assert [outcome.ret for outcome in system.receive().outcomes] == [0] * 4
    digest = system.digest("state")
    system.send(())
    assert system.receive().outcomes == ()
    assert system.digest("state") == digest
    system.close_session()


def test_an_endless_loop_of_this_kernel_is_caught(image: NativeImage) -> None:
    """An owner that moved its private mapping away from a child's copies and finds no free page
    unmaps the child at the wrong address, over and over: true of 6.12.117 itself."""
    trace = parse_trace(
        """equivcheck-trace/1 hugetlb
world nodes=2 nr_hugepages=1
spawn id=A
mmap proc=A map=m1 type=private len=1
touch_write proc=A map=m1 page=0
fork proc=A child=B
mremap proc=A map=m1 start=0 len=1 new_len=1 to=m2
touch_write proc=A map=m2 page=0
"""
    )
    last = run_trace(image, trace, seconds=0.3)[-1].outcome
    assert last.ending == "hang"
    assert last.detail == "time limit in hugetlb_fault (mm/hugetlb.c)"
    system = NativeSystem(image)
    system.boot(trace.world)
    assert system.apply(trace.ops[0]).ret == 0
    system.close()


def test_failure_injection(image: NativeImage) -> None:
    """A node that has no page left to give, and an allocation of a region that fails."""
    trace = Trace(
        "hugetlb",
        {"nodes": 2},
        (
            Op("fail_buddy", {"node": 0, "count": 9}),
            Op("set_nr_hugepages", {"n": 2}),
            Op("spawn", {"id": "A"}),
            Op("fail_kmalloc", {"count": 1, "what": "region"}),
            Op("mmap", {"proc": "A", "map": "m1", "type": "shared", "len": 1}),
            Op("mmap", {"proc": "A", "map": "m2", "type": "shared", "len": 1}),
        ),
    )
    steps = run_trace(image, trace)
    nodes = steps[2].observation["nodes"][0]["nodes"]
    assert [node["nr"] for node in nodes] == [0, 2]
    assert steps[5].outcome.errno == "ENOSPC"  # what hugetlb_file_setup() makes of it
    assert steps[6].outcome.errno is None


def test_gigantic_pages(image: NativeImage) -> None:
    world: dict[str, int | str] = {
        "nodes": 2,
        "hstates": "2M,1G",
        "nr_hugepages_1g": 2,
        "nr_hugepages": 1,
    }
    ops = (
        Op("spawn", {"id": "A"}),
        Op("mmap", {"proc": "A", "map": "m1", "type": "private", "len": 1, "size": "1G"}),
        Op("touch_write", {"proc": "A", "map": "m1", "page": 0}),
    )
    steps = run_trace(image, Trace("hugetlb", world, ops))
    assert steps[0].observation["counters"]["1G"]["nr"] == 2
    assert steps[3].outcome.value == 3
    assert steps[3].observation["counters"]["1G"]["free"] == 1


@pytest.mark.parametrize(
    "world", [{"nodes": 9}, {"frobs": 1}, {"nr_hugepages": -1}, {"node_mb": "x"}]
)
def test_bad_worlds(image: NativeImage, world: dict[str, int | str]) -> None:
    with pytest.raises(WorldError, match="world: "):
        NativeSystem(image).boot(world)


def test_too_many_names(image: NativeImage) -> None:
    ops = tuple(Op("spawn", {"id": f"P{number}"}) for number in range(33))
    with pytest.raises(TraceError, match="room for 32"):
        run_trace(image, Trace("hugetlb", {}, ops))


def test_nothing_unchanged_is_built_again(tree: KernelTree, image: NativeImage) -> None:
    again = build(tree)
    assert again.path == image.path
    assert again.keys == image.keys


@pytest.mark.needs_bubblewrap
def test_the_user_tree_stays_as_it_was(tree: KernelTree, image: NativeImage) -> None:
    assert not (tree.root / ".config").exists()
    assert not (tree.root / "include/generated").exists()
    assert image.path.is_file()


def test_a_worker_that_was_killed_is_replaced(image: NativeImage) -> None:
    """The trace that runs then is lost and says so; the next one has a new worker."""
    runner = Runner(image)
    try:
        before = run_traces(runner, [COW])[0]
        [worker] = runner.workers
        worker._process.kill()
        worker._process.wait()
        after = run_traces(runner, [COW])[0]
        assert [step.digests for step in after] == [step.digests for step in before]
        assert runner.workers != (worker,)
    finally:
        runner.close()
