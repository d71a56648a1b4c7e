"""What a search must reach on the real code, and that one that skips it earns no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from equivalence import gate
from equivalence.backends.port_tier import PortTier
from equivalence.campaign import Config
from equivalence.edit import edit
from equivalence.series import Patch, Series
from equivalence.subject import OpSpec
from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.series import HugetlbConventions, base, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.result import Pair, Verdict
from models.schema.trace import Trace, parse_trace

#: What the series touches, and what allocates by way of it.
TOUCHED = {"alloc_hugetlb_folio", "dequeue_hugetlb_folio_vma"}
CALLERS = {
    "copy_hugetlb_page_range",
    "hugetlb_mfill_atomic_pte",
    "hugetlb_no_page",
    "hugetlb_wp",
    "hugetlbfs_fallocate",
}
PREDICATE = {0: "vma_has_reserves", 1: "vma_has_reserves", 2: "should_use_hstate_resv"}
#: The only way to the line that the patch below writes anew.
SHORT = parse_trace(
    "equivcheck-trace/1 hugetlb\nworld nr_hugepages=4\nspawn id=A\nmemfd_create proc=A fd=f1\n"
    "fallocate proc=A fd=f1 off=0 len=1\nfail_kmalloc what=region count=1\n"
    "fallocate proc=A fd=f1 off=2 len=1\n"
)


def vma_tier() -> PortTier:
    return PortTier(vma_dependence(), HugetlbConventions(), {})


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (2, 3), (0, 2), (0, 3)])
def test_every_pair_watches_what_the_series_touches_and_all_that_calls_it(
    pair: tuple[int, int],
) -> None:
    functions = {change.function: change for change in vma_tier().changes(*pair).functions}
    assert functions.keys() >= TOUCHED | CALLERS
    assert not functions.keys().isdisjoint(PREDICATE.values())
    for name in CALLERS:
        assert functions[name].role == "caller"
        assert not functions[name].before | functions[name].after


class Fewer(HugetlbSubject):
    """Crippled: some operations are never drawn, and only given traces are replayed."""

    def __init__(self, *left_out: str, traces: Iterable[Trace] = ()) -> None:
        kept = {kind: spec for kind, spec in HugetlbSubject.ops.items() if kind not in left_out}
        self.ops: Mapping[str, OpSpec] = kept
        self._traces = tuple(traces)

    def generator(self) -> HugetlbGenerator:
        return HugetlbGenerator(tuple(self.ops))

    def examples(self) -> Iterable[Trace]:
        return self._traces


def rewritten() -> PortTier:
    """A patch that writes an error path anew, which says the same."""
    symbols = base()
    body = edit(
        symbols.table["allocate_file_region_entries"], "return -ENOMEM", "return 0 - ENOMEM"
    )
    patch = Patch("1/1", "Say it otherwise", replace={"allocate_file_region_entries": body})
    return PortTier(Series("rewritten", "One line", symbols, (patch,)), HugetlbConventions(), {})


def searched(subject: HugetlbSubject, tier: PortTier) -> Pair:
    return gate.run(Config(ops=300, against="base"), subject, tier).pairs[-1]


def test_changed_lines_that_the_search_skips_are_named() -> None:
    skips = searched(Fewer("fail_kmalloc"), rewritten())
    assert skips.verdict is Verdict.INADEQUATE
    named = "changed code of allocate_file_region_entries did not run"
    assert f"{named} before the patch: " in skips.reason
    assert f"{named} after the patch: " in skips.reason
    (coverage,) = (c for c in skips.evidence.coverage if c.role == "changed")
    assert coverage.after is not None
    owed = [missed for missed in coverage.after.missed if missed.required]
    assert [missed.text for missed in owed] == ["return 0 - ENOMEM"]
    goals = {goal.name: goal for goal in skips.evidence.goals}
    assert not goals["all of allocate_file_region_entries runs"].reached
    assert owed[0].point in goals["all of allocate_file_region_entries runs"].about

    reaches = searched(Fewer("fail_kmalloc", traces=[SHORT]), rewritten())
    assert not [text for text in reaches.evidence.missing if named in text]


def test_what_did_not_run_in_a_caller_is_told_with_its_line() -> None:
    pair = searched(Fewer("fallocate"), vma_tier())
    goals = {goal.name: goal for goal in pair.evidence.goals}
    for function in TOUCHED | CALLERS:
        assert f"all of {function} runs" in goals
    goal = goals["all of hugetlbfs_fallocate runs"]
    assert not goal.reached
    assert not goal.required
    (coverage,) = (c for c in pair.evidence.coverage if c.function == "hugetlbfs_fallocate")
    assert coverage.after is not None
    assert coverage.after.reached == 0
    texts = [missed.text for missed in coverage.after.missed]
    assert all(texts)
    assert any("alloc_hugetlb_folio(" in text for text in texts)
