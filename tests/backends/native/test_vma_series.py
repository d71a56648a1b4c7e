"""The built-in series in C: on the base's state, through the command that a reviewer types."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from equivalence.backends.native.build import build
from equivalence.backends.native.lockstep import compare
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.native.tier import NativeEvidenceSystem, NativeTier
from equivalence.backends.native.tree import KernelTree
from equivalence.backends.port import PortSystem
from equivalence.cli.choose import load_series, port_tier
from equivalence.subjects.hugetlb.sides import NativeSide, PortSide, SideSystem, compare_sides
from models.schema.trace import parse_trace
from tests.backends.native import recipes, vma_series
from tests.backends.native.generated import traces
from tests.backends.native.recipes import HUGETLB
from tests.backends.native.test_cli import Patches, equivcheck, mbox, result_of
from tests.backends.native.test_series import series_of

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

Maker = Callable[[dict[str, str]], KernelTree]


@pytest.fixture(scope="module")
def base(sources: dict[str, str]) -> dict[str, str]:
    """v6.12-rc3, as far as operations can tell."""
    return recipes.apply(sources, vma_series.BASE)


def run(
    base: dict[str, str], tree: KernelTree, patches: Patches, folder: Path, *words: object
) -> tuple[int, dict[str, Any], list[Any]]:
    """Check a series: the exit status, the result, and its pairs with the step before."""
    series = mbox(base, patches, folder / "series.mbox")
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", series, "--out", "report"),
        *words,
        cwd=folder,
    )
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    result = result_of(folder / "report")
    return done.returncode, result, [p for p in result["pairs"] if p["against"] == "previous"]


def missed(pair: dict[str, Any]) -> list[Any]:
    """Changed lines, and outcomes of changed conditions, that did not run for no known reason."""
    return [
        point
        for function in pair["evidence"]["coverage"]
        for side in ("before", "after")
        if function[side]
        for point in function[side]["missed"]
        if point["required"] and not point["reason"]
    ]


@pytest.mark.parametrize("operations", [6_000, pytest.param(300_000, marks=pytest.mark.nightly)])
def test_the_base_is_what_was_ported(operations: int, base: dict[str, str], edited: Maker) -> None:
    """The port of the base and the C of the base: no disagreement."""
    linked = load_series("vma-dependence")
    port = port_tier(linked).system(0, evidence=False)
    assert isinstance(port, PortSystem)
    native = NativeSystem(build(edited(base)), seconds=0.3)
    try:
        found = compare_sides(
            SideSystem(PortSide(port)), SideSystem(NativeSide(native)), operations, seed=4
        )
    finally:
        native.close()
    assert (found.trace, found.divergence, found.fault) == (None, None, "")
    assert found.operations >= operations


def test_in_process(base: dict[str, str], edited: Maker) -> None:
    """No step differs on drawn traces, and every changed line that holds code runs."""
    with NativeTier(edited(base), series_of(base, *vma_series.SERIES)) as tier:
        assert [tier.obstacle(step) for step in range(4)] == [None] * 4
        drawn = traces(30, 200)
        runners = [Runner(tier.image(step)) for step in range(4)]
        for before, after in itertools.pairwise(runners):
            assert compare(before, after, drawn, seconds=0.5) == []
        for runner in runners:
            runner.close()
        assert [tier.new_warnings(step) for step in (1, 2, 3)] == [{}] * 3
        changes = tier.changes(0, 1)
        assert not changes.identical
        # of a new signature no instruction has the lines
        assert {hunk.fate for hunk in changes.hunks} <= {"not compiled"}
        touched = [change for change in changes.functions if change.role != "caller"]
        assert [change.function for change in touched] == [vma_series.ALLOC, vma_series.DEQUEUE]
        assert {c.function for c in changes.functions if c.role == "caller"} >= {
            "copy_hugetlb_page_range",
            "hugetlb_mfill_atomic_pte",
            "hugetlb_no_page",
            "hugetlb_wp",
            "hugetlbfs_fallocate",
        }
        system = tier.system(1)
        assert isinstance(system, NativeEvidenceSystem)
        for trace in drawn:
            system.boot(trace.world)
            for op in trace.ops:
                system.apply(op)
        coverable, covered = system.coverable(), system.covered()
        for change in touched:
            assert change.after
            assert change.after <= coverable[change.function]
            assert change.after <= covered[change.function]
        assert system.progress() > 500
        system.forget()
        assert system.progress() == 0
        assert not any(system.covered().values())
        system.close()


#: Of each broken series: the patch with the mistake, and a trace that shows it.
BROKEN = {
    "patch 1": (
        vma_series.BROKEN_1,
        1,
        """equivcheck-trace/1 hugetlb
        world nr_hugepages=1
        spawn id=A
        mount mount=h0 min_size=1
        open proc=A fd=f1 mount=h0 name=x
        mmap proc=A map=m1 type=shared len=1 fd=f1 noreserve=1
        touch_write proc=A map=m1 page=0
        """,
    ),
    "patch 3": (
        vma_series.BROKEN_3,
        3,
        """equivcheck-trace/1 hugetlb
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


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_shows_in_its_patch(name: str, base: dict[str, str], edited: Maker) -> None:
    """On the trace that shows it on the ports, and in no other patch."""
    patches, wrong, text = BROKEN[name]
    trace = parse_trace("\n".join(line.strip() for line in text.splitlines()))
    with NativeTier(edited(base), series_of(base, *patches)) as tier:
        for step in (1, 2, 3):
            before, after = Runner(tier.image(step - 1)), Runner(tier.image(step))
            found = compare(before, after, [trace], seconds=0.5)
            assert bool(found) == (step == wrong), step
            before.close()
            after.close()


WHY = "without a reservation the check before it has said no already"


def dead(base: dict[str, str], tree: KernelTree) -> str:
    """The outcome that the first patch removes because it never happens: it leaves the function."""
    lines = base[HUGETLB].splitlines()
    at = lines.index("\tif (avoid_reserve && !available_huge_pages(h))") + 1
    with NativeTier(tree, series_of(base, *vma_series.SERIES)) as tier:
        points = next(
            one.before for one in tier.changes(0, 1).functions if one.function == vma_series.DEQUEUE
        )
    own = range(at - 30, at + 40)
    [found] = [
        point
        for point in points
        if point.startswith(f"{HUGETLB}:{at} to ")
        and point.rpartition(" ")[2].isdigit()
        and int(point.rpartition(" ")[2]) not in own
    ]
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("relation", ["state", "user"])
def test_the_series(relation: str, base: dict[str, str], edited: Maker, tmp_path: Path) -> None:
    """No divergence; every changed line ran, and every condition both ways that can."""
    tree = edited(base)
    words = ("--relation", relation, "--ops", 4000)
    status, result, pairs = run(
        base,
        tree,
        vma_series.SERIES,
        tmp_path,
        *words,
        "--unreachable",
        f"{dead(base, tree)}={WHY}",
    )
    assert status == 0
    reasons = [
        point["reason"]
        for one in pairs[0]["evidence"]["coverage"]
        for point in one["before"]["missed"] + one["after"]["missed"]
        if point["required"]
    ]
    assert reasons == [WHY]
    assert [pair["verdict"] for pair in pairs] == ["no-divergence"] * 3
    for pair in result["pairs"]:
        assert pair["verdict"] == "no-divergence"
        assert pair["evidence"]["missing"] == []
        assert missed(pair) == []
        functions = {one["function"] for one in pair["evidence"]["coverage"]}
        assert pair["against"] == "self" or vma_series.ALLOC in functions
    assert "new compiler warnings" not in result["limits"]
    left_out = {(one["section"], one["field"]) for one in result["not_compared"]}
    assert ("memory cgroups", "*") in left_out


@pytest.mark.nightly
@pytest.mark.parametrize("relation", ["state", "user"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_found(
    name: str, relation: str, base: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    """Exit status 1 for the patch that has it, a minimal trace, and a command that replays it."""
    patches, wrong, _ = BROKEN[name]
    tree = edited(base)
    words = ("--relation", relation, "--against", "previous", "--ops", 8000)
    status, _, pairs = run(base, tree, patches, tmp_path, *words)
    assert status == 1
    [pair] = [one for one in pairs if one["verdict"] == "diverged"]
    assert pair["after"] == wrong
    found = pair["counterexample"]
    assert found["ops"] <= 8
    chosen = ("--tier", "native", "--tree", tree.root, "--series", tmp_path / "series.mbox")
    again = equivcheck(
        *("replay", *chosen, "--relation", relation, found["reproducer"]), cwd=tmp_path
    )
    assert again.returncode == 1, again.stdout + again.stderr


#: What somebody might write on purpose: a page of a node is put back at the tail of its list.
CHANGE = recipes.Edit("enqueue_hugetlb_folio", "list_move(", "list_move_tail(")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("trailer", "words", "verdict", "status"),
    [
        ("Behaviour-change: pages are taken in turn", (), "diverged", 1),
        ("Behaviour-change: in turn", ("--trust-trailers",), "changed-as-declared", 0),
        ("Behaviour-change: none", ("--trust-trailers",), "diverged", 1),
        ("Fixes: something", ("--expect-change", 1), "changed-as-declared", 0),
    ],
)
def test_a_change_that_is_declared(
    trailer: str,
    words: tuple[object, ...],
    verdict: str,
    status: int,
    sources: dict[str, str],
    edited: Maker,
    tmp_path: Path,
) -> None:
    """By a trailer that is trusted, or on the command line."""
    text = recipes.series(sources, [("mm: in turn", [CHANGE])])
    series = tmp_path / "series.mbox"
    series.write_text(text.replace("Signed-off-by", f"{trailer}\nSigned-off-by", 1))
    done = equivcheck(
        *("run", "--tier", "native", "--tree", edited(sources).root, "--series", series),
        *("--against", "previous", "--ops", 1000, *words),
        cwd=tmp_path,
    )
    assert done.returncode == status, done.stdout + done.stderr
    pairs = result_of(tmp_path / "equivcheck-report")["pairs"]
    assert [pair["verdict"] for pair in pairs if pair["against"] == "previous"] == [verdict]
