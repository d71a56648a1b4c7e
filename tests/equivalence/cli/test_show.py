"""`equivcheck show` on the built-in series."""

import ast
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from equivalence.cli import choose, listing, show
from equivalence.series import LinkError
from tests.equivalence.cli.program import GREEDY, Program


def test_steps(equivcheck: Program, snapshot: SnapshotAssertion) -> None:
    done = equivcheck("show")
    assert done.status == 0
    assert done.out == snapshot
    assert equivcheck("show", "steps").out == done.out


def test_a_step_is_one_readable_file_in_the_order_of_the_c(equivcheck: Program) -> None:
    for step, has in ((0, "vma_has_reserves"), (3, "should_use_hstate_resv")):
        tree = ast.parse(equivcheck("show", "--step", str(step)).out)
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert len(names) == len(set(names)) > 100
        assert names.index("region_add") < names.index(has) < names.index("alloc_hugetlb_folio")


def test_one_function_by_its_name_in_c_or_python(equivcheck: Program) -> None:
    assert "def should_use_hstate_resv(" in (
        equivcheck("show", "--step", "2", "should_use_hstate_resv").out
    )
    by_c = equivcheck("show", "--step", "0", "__vma_reservation_common").out
    assert by_c == equivcheck("show", "--step", "0", "_vma_reservation_common").out
    assert "def _vma_reservation_common(" in by_c
    message = equivcheck.refuses("show", "--step", "0", "should_use_hstate_resv")
    assert "is no function of step 0" in message


def test_the_difference_between_two_steps(equivcheck: Program) -> None:
    done = equivcheck("show", "--diff", "1", "2")
    assert "-def vma_has_reserves(" in done.out
    assert "+def should_use_hstate_resv(" in done.out
    assert equivcheck("show", "--diff", "2", "2").out == ""


@pytest.mark.parametrize(
    ("topic", "has"),
    [
        ("functions", "dequeue_hugetlb_folio_vma"),
        ("predicates", "takes from the reserve"),
        ("ops", "set_nr_hugepages"),
        ("worlds", "nr_overcommit_hugepages"),
        ("invariants", "resv-within-free"),
        ("goals", "mmap succeeds"),
    ],
)
def test_topics(equivcheck: Program, topic: str, has: str) -> None:
    done = equivcheck("show", topic)
    assert done.status == 0
    assert has in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_what_cannot_be_shown(equivcheck: Program) -> None:
    say = equivcheck.refuses
    assert "'x' is no topic, expected steps" in say("show", "x")
    assert "step 9 does not exist; vma-dependence has steps 0 to 3" in say("show", "--step", "9")
    assert "expected one of them" in say("show", "--step", "1", "--diff", "0", "1")
    assert "expected two steps only" in say("show", "alloc", "--diff", "0", "1")
    assert "it is not made of ports" in say("show", *GREEDY)


def test_a_series_on_hugetlb_from_a_file(equivcheck: Program) -> None:
    Path("mine.py").write_text(
        "from equivalence.series import Series\n"
        "from equivalence.subjects.hugetlb.series import base\n"
        "SERIES = Series('mine', 'Nothing yet', base(), ())\n"
    )
    assert "mine: Nothing yet" in equivcheck("show", "--series", "mine.py").out
    assert "def region_add(" in equivcheck("show", "--series", "mine.py", "--step", "0").out


def test_a_series_from_a_module(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    Path("mine_too.py").write_text(
        "from equivalence.series import Series\n"
        "from equivalence.subjects.hugetlb.series import base\n"
        "SERIES = Series('mine', 'Nothing yet', base(), ())\n"
    )
    for _ in range(2):
        done = equivcheck("show", "--series", "mine_too:SERIES")
        assert "mine: Nothing yet" in done.out
    say = equivcheck.refuses
    assert "mine_too:NONE" in say("show", "--series", "mine_too:NONE")
    assert "no_such_module:X" in say("show", "--series", "no_such_module:X")


def test_a_series_alone_names_no_others(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Other series: stable-6.12.y" in equivcheck("show").out
    only = choose.built_in()["vma-dependence"]
    monkeypatch.setattr(choose, "built_in", lambda: {"vma-dependence": only})
    monkeypatch.setattr(show, "built_in", choose.built_in)
    assert "Other series" not in equivcheck("show").out


def test_a_series_that_does_not_link(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        msg = "'f' uses 'g', which this step does not define"
        raise LinkError(msg)

    monkeypatch.setattr(choose, "built_in", lambda: {"vma-dependence": fails})
    message = equivcheck.refuses("show")
    assert "the series does not link: 'f' uses 'g'" in message


def test_what_a_later_file_adds_stands_after_its_predecessor() -> None:
    assert listing.file_order("abd", "acd", "xa") == ("x", "a", "c", "b", "d")
