"""Planted bugs in C: each operator makes what it says, and what the compiler refuses is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from equivalence.backends.native.mails import PatchSeries
from equivalence.backends.native.mutants import CMutant, c_mutants_of, functions_of
from equivalence.backends.native.planter import NativePlanter, NativeWorkshop
from equivalence.backends.native.tier import NativeTier
from equivalence.backends.native.tree import KernelTree
from equivalence.events import PairName
from equivalence.mutate import Hunter, Plan, RefusedError
from equivalence.scores import Scores
from equivalence.subjects.hugetlb.examples import written
from equivalence.subjects.hugetlb.hosted import HostedSubject
from equivalence.subjects.hugetlb.mutation import ASSERTIONS_IN_C
from tests.backends.native.recipes import Edit
from tests.backends.native.test_series import series_of

TEXT = b"""\
static long take(struct pool *p, long n)
{
	long left = 7 - n;
	struct page *page, *next;

	/* nothing */
	BUG_ON(n < 0);
	if (!p)
		return -EINVAL;
	if (n < 3 && p->free >= n)
		p->free -= n;
	else
		goto out;
	list_for_each_entry_safe(page, next, &p->pages, link) {
		if (page->bad)
			continue;
		p->seen++;
		list_del(&page->link);
	}
	left = largest(left, n);
	p->last = left;
	return left ? 1 : 0;
late:
	note(p);
out:
	return -ENOMEM;
}

static struct page *first(struct pool *p)
{
	note(p);
	return p->page;
}

static void note(struct pool *p)
{
	p->noted = true;
}

static int count(struct pool *p)
{
	note(p);
	return p->free;
}
"""


LARGEST = "left = largest(left, n);"


def found(operator: str, name: str = "take") -> list[tuple[str, str]]:
    made = c_mutants_of("mm/pool.c", TEXT, name)
    return [(m.old, m.new) for m in made if m.operator == operator]


@pytest.mark.parametrize(
    ("operator", "old", "new"),
    [
        ("negate", "!p", "(p)"),
        ("negate", "n < 3 && p->free >= n", "!(n < 3 && p->free >= n)"),
        ("negate", "left", "!(left)"),
        ("and-or", "n < 3 && p->free >= n", "(n < 3 || p->free >= n)"),
        ("lost condition", "n < 3 && p->free >= n", "(p->free >= n)"),
        ("boundary", "n < 3", "n <= 3"),
        ("boundary", "p->free >= n", "p->free > n"),
        ("sign", "7 - n", "7 + n"),
        ("sign", "p->free -= n", "p->free += n"),
        ("sign", "p->seen++", "p->seen--"),
        ("arguments", "largest(left, n)", "largest(n, left)"),
        ("constant", "7 - n", "8 - n"),
        ("constant", "n < 3", "n < 2"),
        ("label", "goto out;", "goto late;"),
        ("drop", "if (page->bad) continue;", ";"),
        ("drop", "list_del(&page->link);", ";"),
        ("drop", "p->last = left;", ";"),
        ("lost update", "p->seen++;", ";"),
        (
            "order",
            "left = largest(left, n); p->last = left;",
            "p->last = left; left = largest(left, n);",
        ),
        ("early return", "BUG_ON(n < 0);", "return -EINVAL; ..."),
    ],
)
def test_each_operator_makes_what_it_says(operator: str, old: str, new: str) -> None:
    assert (old, new) in found(operator)


def test_an_early_return_is_of_the_function_s_type() -> None:
    assert found("early return", "first") == [("note(p);", "return NULL; ...")]
    assert found("early return", "note") == [("p->noted = true;", "return; ...")]
    assert found("early return", "count") == [("note(p);", "return 0; ...")]


def test_a_change_is_one_of_the_text() -> None:
    made = c_mutants_of("mm/pool.c", TEXT, "take")
    assert len({mutant.key for mutant in made}) == len(made)
    texts = {mutant.apply(TEXT) for mutant in made}
    assert len(texts) == len(made)
    assert TEXT not in texts
    boundary = next(m for m in made if m.new == "n <= 3")
    assert boundary.apply(TEXT) == TEXT.replace(b"n < 3 &&", b"n <= 3 &&")
    assert (boundary.file, boundary.line) == ("mm/pool.c", 10)
    assert c_mutants_of("mm/pool.c", TEXT, "none") == []


def test_a_loop_that_is_a_macro_is_left_whole() -> None:
    made = c_mutants_of("mm/pool.c", TEXT, "take")
    assert all(b"list_for_each_entry_safe" in mutant.apply(TEXT) for mutant in made)
    assert ("page->bad", "!(page->bad)") in found("negate")


def test_assertions_are_left_alone() -> None:
    every = c_mutants_of("mm/pool.c", TEXT, "take")
    kept = c_mutants_of("mm/pool.c", TEXT, "take", {"BUG_ON"})
    assert {m.operator for m in set(every) - set(kept)} == {"drop", "boundary", "constant"}


def test_functions_are_found_by_name() -> None:
    assert list(functions_of(TEXT)) == ["take", "first", "note", "count"]
    assert functions_of(b"int broken(") == {}


class Few(HostedSubject):
    """Few examples: every mutant is tried on a handful of traces."""

    def examples(self) -> tuple:  # type: ignore[type-arg]
        kinds = ("cgroup", "schedule", "memory_hugetlb_accounting")
        chosen = [t for t in written() if not any(word in str(t) for word in kinds)]
        return tuple(chosen[:6])


def planter(tree: KernelTree) -> NativePlanter:
    return NativePlanter(NativeTier(tree, PatchSeries("the tree alone", ())), 2, ASSERTIONS_IN_C)


@pytest.mark.needs_kernel_source
@pytest.mark.needs_toolchain
def test_a_bug_in_the_c_is_found_and_what_does_not_compile_is_told(tree: KernelTree) -> None:
    made = planter(tree)
    assert made.has(0, "hugepage_subpool_get_pages")
    assert not made.has(0, "no_such_function")
    mutants = made.named(0, ["hugetlb_acct_memory"])
    assert len(made.chosen(mutants)) == 2
    assert made.chosen(mutants[:2]) == mutants[:2]
    assert "mm/hugetlb.c" in made.mark(0)
    workshop = made.workshop(0, mutants, "state")
    assert made.workshop(0, mutants, "state") is workshop
    with closing(Hunter(Few(), workshop, (), Plan(ops=300, tries=1_000, raced=100))) as hunter:
        hunts(hunter, mutants)


def hunts(hunter: Hunter, mutants: Sequence[CMutant]) -> None:
    early = next(m for m in mutants if m.operator == "early return")
    fate = hunter.hunt(early)
    assert (fate.killed, fate.how, fate.ran) == (True, "diverged", True)
    assert fate.trace
    refused = CMutant(
        "hugetlb_acct_memory", "test", "a", "b", 1, 1, "", True, "mm/hugetlb.c", 0, 0, b"int = ;\n"
    )
    fate = hunter.hunt(refused)
    assert not fate.compiles
    assert "mm/hugetlb.c does not compile" in fate.field


@pytest.mark.needs_kernel_source
@pytest.mark.needs_toolchain
def test_an_image_goes_with_its_system(tree: KernelTree) -> None:
    made = planter(tree)
    workshop = made.workshop(0, (), "state")
    assert isinstance(workshop, NativeWorkshop)
    mutant = made.named(0, ["region_abort"])[0]
    system = workshop.mutated(mutant)
    folder = Path(getattr(system, "_folder"))  # noqa: B009 -- private
    assert folder.is_dir()
    system.close()  # type: ignore[attr-defined]
    assert not folder.exists()
    with pytest.raises(RefusedError):
        workshop.mutated(CMutant("f", "x", "", "", 1, 1, "", True, "mm/hugetlb.c", 0, 0, b"}"))


@pytest.mark.nightly
@pytest.mark.needs_kernel_source
@pytest.mark.needs_toolchain
def test_a_run_tells_the_score_of_what_a_series_touches(
    tree: KernelTree, sources: dict[str, str]
) -> None:
    edit = Edit("hugetlb_acct_memory", "if (delta > 0) {", "if (h && delta > 0) {")
    series = series_of(sources, ("Ask for the hstate too", (edit,)))
    with NativeTier(tree, series) as tier:
        made = NativePlanter(tier, 6, ASSERTIONS_IN_C)
        score = Scores(HostedSubject(), made, (), lambda key: None, Plan(ops=500), jobs=2)
        found = score(PairName(0, 1, "0001", "previous"), lambda: False)
        assert found.functions == ("hugetlb_acct_memory",)
        assert found.killed + found.survived + found.not_compiled == 6
        assert found.not_tried == len(made.touched(0, 1)) - 6
        assert found.killed >= 3
