"""The calls of the C: recorded, told in its words, and the same as the port's."""

from collections.abc import Iterator

import pytest

from equivalence.backends.native.functions import function_of, hunk_of, text_of
from equivalence.backends.native.tier import NativeTier
from equivalence.backends.native.tree import KernelTree
from equivalence.cli.choose import load_series, port_tier
from equivalence.parting import call_trees
from equivalence.subject import Change
from models.schema.trace import Trace, parse_trace
from tests.backends.native.recipes import Edit
from tests.backends.native.test_series import series_of

EXIT = "dequeue_hugetlb_folio_vma"
#: The first exit does not ask whether a page is available.
LOOSE = Edit(EXIT, "&& !available_huge_pages(h))", "&& false)")


@pytest.fixture(scope="module")
def tier(tree: KernelTree, sources: dict[str, str]) -> Iterator[NativeTier]:
    """6.12.117 and a patch on it."""
    series = series_of(sources, ("mm/hugetlb: a shorter exit", (LOOSE,)))
    with NativeTier(tree, series) as made:
        yield made


@pytest.fixture
def trace() -> Trace:
    """The child faults, the parent has the only page reserved."""
    return parse_trace(
        "equivcheck-trace/1 hugetlb\n"
        "world nr_hugepages=1\n"
        "spawn id=A\n"
        "mmap proc=A map=m1 type=private len=1\n"
        "fork proc=A child=B\n"
        "touch_write proc=B map=m1 page=0\n"
    )


@pytest.mark.needs_kernel_source("6.12")
@pytest.mark.needs_toolchain
def test_the_c_parts_where_the_patch_lets_it(tier: NativeTier, trace: Trace) -> None:
    trees = call_trees(tier, (0, 1), [Change(EXIT, "changed")], trace, 3)
    assert trees is not None
    assert trees.parting == "call"
    assert trees.before.said == "calls available_huge_pages()"
    assert trees.after.said.startswith("goes on at 'nid = huge_node(")
    assert trees.before.stack == ("hugetlb_fault", "hugetlb_no_page", "alloc_hugetlb_folio", EXIT)
    assert trees.hunk_of == EXIT
    assert trees.hunk.startswith("--- a/mm/hugetlb.c\n+++ b/mm/hugetlb.c\n@@ ")
    for side in (trees.before, trees.after):
        assert side.source is not None
        assert side.source.file == "mm/hugetlb.c"
        assert side.source.marked is not None
    assert trees.before.source is not None
    assert trees.before.source.marked is not None
    at = trees.before.source.marked - trees.before.source.first_line
    assert "available_huge_pages(h)" in trees.before.source.lines[at]
    again = call_trees(tier, (0, 1), [Change(EXIT, "changed")], trace, 3)
    assert again == trees


@pytest.mark.needs_kernel_source("6.12")
@pytest.mark.needs_toolchain
def test_the_port_makes_the_calls_of_the_c(tier: NativeTier, trace: Trace) -> None:
    ported = port_tier(load_series("stable-6.12.y"))
    recording = ported.recording(len(ported.patches), trace, 3)
    native = tier.recording(0, trace, 3)
    assert native is not None
    assert native.complete
    hosted = {event.function for event in native.events if event.kind == "enter"}
    names = {
        text.name
        for event in recording.events
        if (text := ported.function_text(len(ported.patches), event.function)) is not None
    }
    assert {"hugetlb_fault", "alloc_hugetlb_folio", EXIT, "vma_end_reservation"} <= hosted & names


@pytest.mark.needs_kernel_source("6.12")
@pytest.mark.needs_toolchain
def test_what_cannot_be_built_has_no_calls(
    tier: NativeTier, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert tier.recording(0, trace, 3) is None


BEFORE = """#define X 1
static int one(int a,
	int b)
{
	return a + b;
}

int two(void)
{
	one(1, 2);
	return 0;
}
"""


def test_functions_are_found_in_the_text_of_a_file() -> None:
    assert function_of(BEFORE)[1:7] == ("", "one", "one", "one", "one", "one")
    text = text_of("two", "a.c", BEFORE)
    assert text is not None
    assert (text.file, text.first_line, text.lines[0], text.lines[-1]) == (
        "a.c",
        8,
        "int two(void)",
        "}",
    )
    assert text_of("three", "a.c", BEFORE) is None


def test_the_hunk_of_a_function_has_the_lines_of_the_file() -> None:
    after = BEFORE.replace("a + b", "a - b").replace("one(1, 2);", "one(2, 1);\n\tone(3, 4);")
    assert hunk_of("two", "a.c", BEFORE, after).splitlines()[:3] == [
        "--- a/a.c",
        "+++ b/a.c",
        "@@ -2,11 +2,12 @@ two()",
    ]
    far = BEFORE.replace("\n\nint two", "\n" * 20 + "int two")
    changed = far.replace("a + b", "a - b").replace("one(1, 2);", "one(2, 1);")
    assert hunk_of("two", "a.c", far, changed).splitlines()[2:] == [
        "@@ -25,6 +25,6 @@ two()",
        " ",
        " int two(void)",
        " {",
        "-\tone(1, 2);",
        "+\tone(2, 1);",
        " \treturn 0;",
        " }",
    ]
    assert hunk_of("one", "a.c", BEFORE, BEFORE) == ""
