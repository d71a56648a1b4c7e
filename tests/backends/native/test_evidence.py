"""Lines and outcomes of conditions as evidence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from equivalence.backends.native.build import build
from equivalence.backends.native.coverage import TO, CoverageMap, Covered
from equivalence.backends.native.system import Runner, run_traces
from equivalence.backends.native.tree import HOSTED, KernelTree
from models.schema.trace import Trace
from tests.backends.native import recipes
from tests.backends.native.recipes import HUGETLB, Edit
from tests.backends.native.test_cli import equivcheck, mbox, result_of
from tests.backends.native.test_planted import TOUCH

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

Maker = Callable[[dict[str, str]], KernelTree]
ENQUEUE = "enqueue_hugetlb_folio"
COUNT = "h->free_huge_pages++;"
#: All lines run; that the condition is ever false is another matter.
GUARDED = Edit(ENQUEUE, COUNT, f"if (h->order != 77)\n\t\t{COUNT}")


def test_both_outcomes_of_a_condition_are_told_apart(
    sources: dict[str, str], edited: Maker
) -> None:
    """One that does not happen is not seen, whatever lines ran; and one that happens later is."""
    text = recipes.apply(sources, [GUARDED])
    lines = text[HUGETLB].splitlines()
    at = lines.index("\tif (h->order != 77)") + 1
    image = build(edited(text), coverage=HOSTED)
    known = CoverageMap(image.path, HOSTED)
    line = frozenset({f"{HUGETLB}:{at}"})
    outcomes = known.outcomes(ENQUEUE, line)
    assert len(outcomes) == 2
    assert f"{HUGETLB}:{at}{TO}{at + 1}" in outcomes
    assert outcomes | line <= known.functions[ENQUEUE]
    runner = Runner(image)
    try:
        run_traces(runner, [TOUCH])
        [worker] = runner.workers
        covered = Covered(known)
        covered.add(worker.steps(0))
        ran = covered.points()
        assert line <= ran[ENQUEUE]
        assert outcomes & ran[ENQUEUE] == {f"{HUGETLB}:{at}{TO}{at + 1}"}
        # what was taken in is not told again, what is forgotten is
        taken = worker.coverage_count()
        assert taken == len(worker.steps(0)) > 100
        run_traces(runner, [TOUCH])
        assert worker.steps(taken) == ()
        worker.forget_coverage()
        assert worker.steps(0) == ()
        run_traces(runner, [Trace("hugetlb", TOUCH.world, TOUCH.ops[:1])])
        assert worker.steps(0)
    finally:
        runner.close()


def test_an_assertion_owes_no_outcome(sources: dict[str, str], edited: Maker) -> None:
    """That it never fires is what it is there for."""
    edit = Edit(ENQUEUE, COUNT, f"WARN_ON(h->order == 77);\n\t{COUNT}")
    text = recipes.apply(sources, [edit])
    at = text[HUGETLB].splitlines().index("\tWARN_ON(h->order == 77);") + 1
    known = CoverageMap(build(edited(text), coverage=HOSTED).path, HOSTED)
    line = frozenset({f"{HUGETLB}:{at}"})
    assert line <= known.functions[ENQUEUE]
    assert known.outcomes(ENQUEUE, line) == frozenset()


def test_an_outcome_that_never_happened_is_named(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    series = mbox(sources, (("mm/hugetlb: be careful", (GUARDED,)),), tmp_path / "s.mbox")
    tree = edited(sources)
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", series, "--ops", 600),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    [pair] = [
        p for p in result_of(tmp_path / "equivcheck-report")["pairs"] if p["against"] == "previous"
    ]
    assert pair["verdict"] == "inadequate"
    assert pair["reason"].startswith(f"changed code of {ENQUEUE} did not run after the patch: ")
    assert TO in pair["reason"]
