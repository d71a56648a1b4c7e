"""What the compiler checks on request: each planted fault is an outcome, told with its line."""

from collections.abc import Callable

import pytest

from equivalence.backends.native.build import build
from equivalence.backends.native.lockstep import compare
from equivalence.backends.native.system import Runner, run_trace, run_traces
from equivalence.backends.native.tree import KernelTree
from tests.backends.native import recipes
from tests.backends.native.generated import traces
from tests.backends.native.recipes import Edit
from tests.backends.native.test_planted import ALLOC, RELEASE, TOUCH

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

Maker = Callable[[dict[str, str]], KernelTree]
ALL = ("address", "undefined")


def _after(place: tuple[str, str], text: str) -> Edit:
    function, anchor = place
    return Edit(function, anchor, f"{anchor}\n\t{text}")


#: What is said, the function, and the edit: what is done after an allocation, or after a free.
FAULTS = (
    (
        "access out of bounds",
        ALLOC[0],
        _after(ALLOC, "char *b = kmalloc(13, GFP_KERNEL);\n\tb[READ_ONCE(h->order) + 4] = 1;"),
    ),
    (
        "use after free",
        RELEASE[0],
        _after(RELEASE, "if (READ_ONCE(resv_map->adds_in_progress) == 77) barrier();"),
    ),
    (
        "undefined: shift out of range",
        ALLOC[0],
        _after(ALLOC, "WRITE_ONCE(h->mask, h->mask | (1 << (READ_ONCE(h->order) + 23)));"),
    ),
    (
        "undefined: index out of bounds",
        ALLOC[0],
        _after(ALLOC, "WRITE_ONCE(h->nr_huge_pages_node[READ_ONCE(h->order) * 1000], 1);"),
    ),
)


@pytest.mark.parametrize(("said", "function", "edit"), FAULTS, ids=[one[0] for one in FAULTS])
def test_a_fault_is_told_with_its_line(
    said: str, function: str, edit: Edit, sources: dict[str, str], edited: Maker
) -> None:
    text = recipes.apply(sources, [edit])
    image = build(edited(text), sanitize=ALL)
    steps = run_trace(image, TOUCH)
    last = steps[-1].outcome
    assert last.ending == "crash", last
    assert last.detail == f"{said} in {function} (mm/hugetlb.c)"
    line = int(last.place.removeprefix("mm/hugetlb.c:"))
    near = "\n".join(text[recipes.HUGETLB].splitlines()[line - 1 : line + 1])
    assert edit.text.splitlines()[-1].strip() in near


def test_the_kernel_as_it_is_makes_none(tree: KernelTree, runner: Runner) -> None:
    """Checked code does what unchecked code does."""
    checked = Runner(build(tree, sanitize=ALL))
    try:
        drawn = traces(20, 100, seed=7)
        assert compare(runner, checked, drawn, seconds=0.5) == []
        ends = {step.outcome.ending for one in run_traces(checked, drawn) for step in one}
        assert "crash" not in ends
    finally:
        checked.close()
