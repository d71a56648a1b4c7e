"""The port of 6.12.117 and the C of 6.12.117, side by side."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from equivalence.backends.native.build import NativeImage, build
from equivalence.backends.native.system import NativeSystem, run_trace
from equivalence.backends.native.tree import KernelTree
from equivalence.backends.port import PortSystem
from equivalence.cli.choose import load_series, port_tier
from equivalence.subjects.hugetlb.series import STABLE
from equivalence.subjects.hugetlb.sides import (
    SECTIONS,
    NativeSide,
    PortSide,
    SideSystem,
    compare_sides,
)
from models.schema.trace import parse_trace
from tests.backends.native import planted, recipes
from tests.backends.native.test_cli import equivcheck
from tests.equivalence.subjects.hugetlb.defects import DEFECTS

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

Maker = Callable[[dict[str, str]], KernelTree]
MANY = 1_000_000


@pytest.fixture(scope="module")
def port() -> SideSystem:
    """The last step of the stable series."""
    series = load_series(STABLE)
    system = port_tier(series).system(series.steps[-1].number, evidence=False)
    assert isinstance(system, PortSystem)
    return SideSystem(PortSide(system))


def c_side(image: NativeImage) -> Iterator[SideSystem]:
    """The C of an image."""
    system = NativeSystem(image, seconds=0.3)
    yield SideSystem(NativeSide(system))
    system.close()


@pytest.fixture(scope="module")
def native(image: NativeImage) -> Iterator[SideSystem]:
    """The C of 6.12.117."""
    yield from c_side(image)


TRACE = parse_trace(
    """equivcheck-trace/1 hugetlb
world nodes=2 nr_hugepages=4 nr_overcommit_hugepages=1
cgroup_create cgroup=g1
spawn id=A
cgroup_attach cgroup=g1 target=A
mount mount=h0 size=3 min_size=2
open proc=A fd=f1 mount=h0 name=x
mmap proc=A map=m1 type=shared len=2 fd=f1
touch_write proc=A map=m1 page=1
mmap proc=A map=m2 type=private len=2
touch_write proc=A map=m2 page=0
fork proc=A child=B
touch_write proc=B map=m2 page=0
fallocate proc=A fd=f1 off=1 len=1 mode=punch_hole
exit proc=A
"""
)


def test_both_show_every_section(port: SideSystem, native: SideSystem) -> None:
    """None of the sections is empty on either side all the time, or equal by being so."""
    filled: set[str] = set()
    for side in (port, native):
        side.boot(TRACE.world)
    for op in TRACE.ops:
        assert port.apply(op) == native.apply(op), op
        one, other = port.observe(), native.observe()
        assert one == other, op
        assert set(one) == set(SECTIONS)
        filled |= {name for name, value in one.items() if value}
        filled |= {"files"} if one["reservations"]["files"] else set()
        filled |= {"maps"} if any(one["reservations"]["mappings"].values()) else set()
    assert filled == {*SECTIONS, "files", "maps"}
    assert port.digest("state") == native.digest("state")


#: A mount whose minimum is 0 gives its subpool up although a pinned page still points to it.
[FREED_SUBPOOL] = [
    parse_trace(f"equivcheck-trace/1 hugetlb\n{dedent(one.trace).strip()}\n")
    for one in DEFECTS
    if one.name == "subpool-freed-under-a-page"
]


def test_a_use_after_free_of_6_12_117_itself(
    port: SideSystem, native: SideSystem, image: NativeImage
) -> None:
    """Found by calibration: both sides end in it, and the C says where."""
    for side in (port, native):
        side.boot(FREED_SUBPOOL.world)
        outcomes = [side.apply(op) for op in FREED_SUBPOOL.ops]
        assert [one.ending for one in outcomes] == [*["returned"] * 8, "crash"]
    last = run_trace(image, FREED_SUBPOOL)[-1].outcome
    assert last.detail.startswith("use after free")
    assert "hugepage_subpool_put_pages (mm/hugetlb.c)" in last.detail
    assert last.place.startswith("mm/hugetlb.c:")


def test_random_traces_agree(port: SideSystem, native: SideSystem) -> None:
    found = compare_sides(port, native, 8_000, seed=1)
    assert found.operations >= 8_000
    assert (found.divergence, found.fault) == (None, "")


#: Pages of 1 GiB are split, as far as they are free and nobody has reserved them.
GIANT = (
    """world hstates=2M,1G nr_hugepages=2 nr_hugepages_1g=3
demote n=1
demote n=1 node=1
spawn id=A
mmap proc=A map=m1 type=private len=2
touch_write proc=A map=m1 page=0
touch_write proc=A map=m1 page=1
demote n=5
set_nr_hugepages n=100
munmap proc=A map=m1
set_nr_hugepages n=0
""",
    """world hstates=2M,1G nr_hugepages_1g=2
mount mount=h0 pagesize=1G min_size=1
demote n=2
demote n=1 node=0
demote n=1 node=1
umount mount=h0
demote n=1
set_nr_hugepages n=1 size=1G
set_nr_overcommit_hugepages n=1 size=1G
set_node_nr_hugepages node=1 n=1 size=1G
set_nr_hugepages n=0 size=1G
set_nr_hugepages n=0
""",
    """world hstates=2M,1G nr_hugepages=1 nr_hugepages_1g=2 nr_overcommit_hugepages=2
spawn id=A
mmap proc=A map=m1 type=shared len=3
touch_write proc=A map=m1 page=0
demote n=1
mmap proc=A map=m2 type=private len=1 size=1G
touch_write proc=A map=m2 page=0
demote n=1
munmap proc=A map=m2
demote n=1
munmap proc=A map=m1
set_nr_hugepages n=3
""",
)


@pytest.mark.parametrize("text", GIANT)
def test_pages_of_1_gib_and_their_demotion_agree(
    text: str, port: SideSystem, native: SideSystem
) -> None:
    trace = parse_trace(f"equivcheck-trace/1 hugetlb\n{text}")
    port.boot(trace.world)
    native.boot(trace.world)
    for op in trace.ops:
        assert port.apply(op) == native.apply(op), op
        assert port.observe() == native.observe(), op


@pytest.mark.nightly
def test_a_million_operations_agree(port: SideSystem, native: SideSystem) -> None:
    found = compare_sides(port, native, MANY, seed=2)
    assert (found.operations, found.trace, found.fault) == (MANY, None, "")


@pytest.mark.parametrize("name", ["subpool: reserves are not refilled", "unmap: a reservation"])
def test_a_wrong_port_is_found(
    name: str, port: SideSystem, sources: dict[str, str], edited: Maker
) -> None:
    """Here the C is made to differ, which is the same; the trace becomes short."""
    [edit] = [edit for about, edit in planted.PLANTED if about.startswith(name)]
    for side in c_side(build(edited(recipes.apply(sources, [edit])))):
        found = compare_sides(port, side, 20_000, seed=3)
        assert found.divergence is not None
        assert found.trace is not None
        assert len(found.trace.ops) <= 12


def test_on_the_command_line(tree: KernelTree, tmp_path: Path) -> None:
    words = ("calibrate", "--native", "--tree", tree.root)
    done = equivcheck(*words, "--ops", 1500, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no disagreement" in done.stdout
    done = equivcheck(*words, "--ops", 500, "--format", "json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["operations"], found["disagreements"]) == (500, [])
    assert found["schema"] == "equivcheck/calibration/1"
    assert equivcheck("calibrate", "--native", cwd=tmp_path).returncode == 2
    assert equivcheck("calibrate", "--tree", tree.root, cwd=tmp_path).returncode == 2
