"""The documented defects of the base and of 6.12.117 are real, minimal, and found again."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from equivalence.backends.port import PortSystem
from equivalence.search import defect_index
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import Trace, parse_trace
from tests.equivalence.subjects.hugetlb.defects import BOTH, DEFECTS, Defect
from tools.find_defects import counters, drawn, minimal, shortest, system_of

DOCUMENT = Path(__file__).parents[4] / "docs" / "defects.md"
STEPS = {"base": ("vma-dependence", 0), "6.12.117": ("stable-6.12.y", -1)}
each = pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)


@pytest.fixture(scope="module")
def systems() -> dict[str, PortSystem]:
    return {name: system_of(*step) for name, step in STEPS.items()}


def trace_of(defect: Defect) -> Trace:
    return parse_trace(f"equivcheck-trace/1 hugetlb\n{dedent(defect.trace).strip()}\n")


@each
def test_the_last_operation_breaks_it_on_the_steps_that_are_named(
    systems: dict[str, PortSystem], defect: Defect
) -> None:
    trace = trace_of(defect)
    subject = HugetlbSubject()
    for name in BOTH:
        index = defect_index(systems[name], trace, defect.broken, subject)
        if name not in defect.steps:
            assert index is None
            continue
        assert index == len(trace.ops) - 1
        _, pool = counters(systems[name], trace)
        if defect.pool is None:
            assert pool == {}
        else:
            (found,) = pool.values()
            assert tuple(found[key] for key in ("nr", "free", "resv", "surplus")) == defect.pool


@each
def test_no_operation_can_be_left_out(systems: dict[str, PortSystem], defect: Defect) -> None:
    trace = trace_of(defect)
    system = systems[defect.steps[0]]
    subject = HugetlbSubject()
    for left_out in range(len(trace.ops)):
        ops = (*trace.ops[:left_out], *trace.ops[left_out + 1 :])
        assert defect_index(system, trace.with_ops(ops), defect.broken, subject) is None


@each
def test_the_document_shows_the_same_trace(defect: Defect) -> None:
    text = DOCUMENT.read_text()
    assert f"### {defect.name}\n" in text
    lines = dedent(defect.trace).strip()
    assert f"```\n{lines}\n```" in text


@pytest.mark.nightly
@pytest.mark.parametrize("name", BOTH)
def test_the_seeded_search_finds_them_again(systems: dict[str, PortSystem], name: str) -> None:
    wanted = {d.search for d in DEFECTS if d.search is not None and name in d.steps}
    found = shortest(drawn(systems[name], 0, 3_000), None)
    assert wanted <= found.keys()
    for defect in wanted:
        trace = minimal(systems[name], defect, found[defect])
        assert len(trace.ops) <= 9
