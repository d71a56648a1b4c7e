"""Of rewrites that change nothing, nothing is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from equivalence.series import same_code
from equivalence.subjects.hugetlb.series import base
from tests.quality.command import pair, run
from tests.quality.rewrites import IDENTICAL, REWRITES

#: The recordings alone are 15,000 operations, which every run replays first.
OPS = "2000"
SEARCHED = (
    "renamed_local",
    "early_return",
    "swapped_operands",
    "hoisted_pure_call",
    "inverted_condition",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one.name, marks=[] if one.name in SEARCHED else [pytest.mark.nightly])
        for one in REWRITES
    ],
)
def test_nothing_is_reported_of_a_rewrite(name: str, tmp_path: Path) -> None:
    (rewrite,) = [one for one in REWRITES if one.name == name]
    (edited,) = rewrite.patch().replace.values()
    assert not same_code(base().table[rewrite.function], edited)
    done = run(f"tests.quality.rewrites:{name}", tmp_path, "--ops", OPS)
    one = pair(done.result, 1)
    assert (one.verdict.value, one.reason) == ("no-divergence", "")
    assert one.counterexample is None
    assert one.ops > int(OPS)
    assert done.status == 0


def test_other_text_for_the_same_code_is_identical(tmp_path: Path) -> None:
    (edited,) = IDENTICAL.patch().replace.values()
    assert same_code(base().table[IDENTICAL.function], edited)
    done = run(f"tests.quality.rewrites:{IDENTICAL.name}", tmp_path, "--ops", OPS)
    one = pair(done.result, 1)
    assert (one.verdict.value, one.rung, one.ops) == ("identical", "identical code", 0)
    assert done.status == 0
