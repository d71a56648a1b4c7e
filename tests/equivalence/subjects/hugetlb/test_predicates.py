"""The changed conditions: what the old and the new expression answer on every input."""

from __future__ import annotations

import pytest

from equivalence.subject import Predicate
from equivalence.subjects.hugetlb.predicates import (
    DEBIT,
    NOT_OVERRIDDEN,
    REFUSE,
    SHOULD_USE,
    has_reserves,
)

ALL = (REFUSE, DEBIT, SHOULD_USE, NOT_OVERRIDDEN)


@pytest.mark.parametrize("predicate", ALL, ids=lambda p: p.name)
def test_a_predicate_names_every_input_once(predicate: Predicate) -> None:
    assert len(predicate.names) == len(predicate.inputs)
    assert len(set(predicate.domain)) == 2 ** len(predicate.names)
    assert set(predicate.unreachable) < set(predicate.domain)


def test_the_base_has_reserves_for_shared_mappings_and_owners() -> None:
    # noreserve, mayshare, owner, chg; by hand from vma_has_reserves().
    true_rows = {
        (1, 1, 0, 0),
        (1, 1, 1, 0),
        (0, 1, 0, 0),
        (0, 1, 1, 0),
        (0, 0, 1, 0),
    }
    for noreserve in (0, 1):
        for mayshare in (0, 1):
            for owner in (0, 1):
                for chg in (0, 1):
                    row = (noreserve, mayshare, owner, chg)
                    assert has_reserves(*row) == (row in true_rows)


def test_an_input_is_reached_in_situ_or_said_to_be_unreachable() -> None:
    # An owner of a private mapping who breaks copy on write, covered by the subpool's reserve:
    # reached only once patch 3 leaves the subpool's answer alone.
    row = (0, 0, 1, 1, 0)
    assert row in SHOULD_USE.unreachable
    assert row not in NOT_OVERRIDDEN.unreachable
