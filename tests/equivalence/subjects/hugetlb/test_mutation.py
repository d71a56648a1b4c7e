"""Planted bugs in the reservation core and in what the built-in series touches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from equivalence.backends.port_planter import PortPlanter, mutants_in
from equivalence.backends.port_tier import PortTier
from equivalence.mutants import Mutant
from equivalence.mutate import Fate, Hunter, Plan, hunt_all
from equivalence.scores import evidence_of
from equivalence.subjects.hugetlb.mutation import (
    ASSERTIONS,
    BESIDE,
    CORE_MODULES,
    core,
    core_in_c,
    explained,
    reasons,
)
from equivalence.subjects.hugetlb.series import HugetlbConventions, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from equivalence.subjects.hugetlb.worlds import WORLDS

TOUCHED = ("alloc_hugetlb_folio", "dequeue_hugetlb_folio_vma", "should_use_hstate_resv")
STEP = 3


def planter() -> PortPlanter:
    return PortPlanter(PortTier(vma_dependence(), HugetlbConventions(), {}), ASSERTIONS)


@cache
def mutants() -> tuple[Mutant, ...]:
    return tuple(planter().named(STEP, [*TOUCHED, *core()]))


def fates(chosen: Sequence[Mutant], plan: Plan, jobs: int = 1) -> list[Fate]:
    workshop = planter().workshop(STEP, chosen, plan.relation)
    worlds = WORLDS if plan.states else ()
    return list(hunt_all(Hunter(HugetlbSubject(), workshop, worlds, plan), chosen, jobs))


def test_the_core_is_what_its_modules_have_but_for_what_is_named() -> None:
    functions = PortTier(vma_dependence(), HugetlbConventions(), {}).functions(STEP)
    assert {"region_chg", "hugetlb_reserve_pages", "hugepage_subpool_get_pages"} <= set(core())
    assert {"free_huge_folio", "alloc_surplus_hugetlb_folio", "set_max_huge_pages"} <= set(core())
    assert set(core()) <= functions.keys()
    assert not set(core()) & BESIDE
    assert all(any(hasattr(module, name) for module in CORE_MODULES) for name in BESIDE)
    assert {"__vma_reservation_common", "region_del"} <= set(core_in_c())
    assert len(mutants()) > 1_800


def test_every_reason_is_of_a_mutant_and_says_why() -> None:
    named, patterns = reasons()
    assert all(len(reason) > 40 for reason in [*named.values(), *(text for _, text in patterns)])
    tier = PortTier(vma_dependence(), HugetlbConventions(), {})
    names = [*TOUCHED, *core()]
    keys = {
        mutant.key
        for step in (0, 1, 2, STEP)
        for mutant in mutants_in(tier, step, names if step == STEP else TOUCHED, ASSERTIONS)
    }
    assert sorted(key for key in named if key not in keys) == []
    assert [p.pattern for p, _ in patterns if not any(map(p.fullmatch, keys))] == []


def test_a_sample_is_killed_or_explained() -> None:
    sample = mutants()[::60]
    plan = Plan(ops=300, tries=4_000, states=0)
    left = [fate.mutant.key for fate in fates(sample, plan) if fate.survived]
    assert [key for key in left if explained(key) is None] == []


@pytest.mark.nightly
def test_every_mutant_is_killed_or_explained() -> None:
    plan = Plan(ops=10_000, tries=12_000, states=300, raced=2_000)
    found = evidence_of(fates(mutants(), plan, jobs=2), explained)
    assert found.survivors == ()
    assert found.killed / (found.killed + found.explained) >= 0.8
