"""Coverage drawn on a change."""

import pytest

from equivalence import drawn, gate
from equivalence.adequacy import Search
from equivalence.calls import FunctionText
from equivalence.campaign import Config
from equivalence.drawn import Version, draw, draw_all
from equivalence.search import Findings
from models.schema.result import (
    DrawnLine,
    Evidence,
    FunctionCoverage,
    MissedPoint,
    SideCoverage,
)
from models.schema.trace import Op, Trace
from tests import toy_port


def version(*lines: str, first: int = 10, points: str = "", reached: str = "") -> Version:
    text = FunctionText("f", "f.c", first, lines)
    return Version(text, *(frozenset(said.split(",")) - {""} for said in (points, reached)))


def said(line: DrawnLine) -> tuple[object, ...]:
    ran = (line.before_ran, line.after_ran)
    return line.sign, line.before, line.after, *ran, line.text, line.missed


def test_lines_are_drawn_with_what_ran_of_them() -> None:
    before = version("a", "b", "c", points="10,11,12", reached="10,11")
    after = version("a", "B", "B2", "c", first=20, points="20,21,23", reached="20,21,99")
    lines, more = draw(before, after)
    assert [said(line) for line in lines] == [
        (" ", 10, 20, "all", "all", "a", ""),
        ("-", 11, None, "all", None, "b", ""),
        ("+", None, 21, None, "all", "B", ""),
        ("+", None, 22, None, None, "B2", ""),
        (" ", 12, 23, "none", "none", "c", ""),
    ]
    assert more == 0


def test_outcomes_that_were_not_seen_are_named() -> None:
    one = "10,10:4 true,10:4 false"
    two = f"{one},10:9 true,10:9 false"
    before = version("if x", "tail", points=one, reached="10,10:4 true")
    after = version("if x and y", "tail", points=two, reached="10,10:4 true,10:4 false,10:9 false")
    lines, _ = draw(before, after)
    assert [said(line)[3:] for line in lines[:2]] == [
        ("some", None, "if x", "never false"),
        (None, "some", "if x and y", "condition 2 never true"),
    ]


def test_a_line_of_both_sides_says_whose_outcome_is_missing() -> None:
    points = "10,10:4 true,10:4 false"
    before = version("if x", "b", points=points, reached="10,10:4 true")
    after = version("if x", "B", points=points, reached="10,10:4 false")
    assert draw(before, after)[0][0].missed == "never false before; never true after"
    whole = version("if x", "B", points=points, reached=points)
    assert draw(before, whole)[0][0].missed == "never false before"
    assert draw(before, version("if x", "B", points=points, reached="10,10:4 true"))[0][
        0
    ].missed == ("never false")


def test_points_of_the_c_are_lines_of_a_file() -> None:
    lines, _ = draw(version("a", points="mm/a.c:10", reached="mm/a.c:10"), version("b", points="?"))
    assert [(line.before_ran, line.after_ran) for line in lines] == [("all", None), (None, None)]


def test_an_outcome_in_the_c_is_named_by_where_it_leads() -> None:
    points = "mm/a.c:10,mm/a.c:10 to 12,mm/a.c:10 to 14 by a jump"
    line = draw(version("if", points=points, reached="mm/a.c:10,mm/a.c:10 to 12"), version("x"))[0][
        0
    ]
    assert (line.before_ran, line.missed) == ("some", "never to 14 by a jump")


def test_a_function_that_one_side_only_has() -> None:
    nothing = Version(None, frozenset(), frozenset())
    lines, _ = draw(nothing, version("a", "b"))
    assert [line.sign for line in lines] == ["+", "+"]


def test_what_does_not_change_is_left_out_and_so_is_what_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same = [f"{n}" for n in range(20)]
    before, after = version("x", *same, "y"), version("X", *same, "Y")
    assert "".join(line.sign for line in draw(before, after)[0]) == "-+   @   -+"
    monkeypatch.setattr(drawn, "MAX_LINES", 4)
    lines, more = draw(before, after)
    assert (len(lines), more) == (4, 7)


def test_every_changed_function_of_a_tier_that_shows_its_source_is_drawn() -> None:
    before, after = toy_port.tier(), toy_port.tier(toy_port.replacing(take=toy_port.take_twice))
    subject = toy_port.ToySubject()
    subject.traces = (Trace("toy", {"pages": 1}, (Op("take", {"proc": "A", "n": 1}),)),)
    evidence = {
        tier: pair.evidence
        for tier, pair in (
            ("same", gate.run(Config(ops=50), subject, before).pairs[-1]),
            ("port", gate.run(Config(ops=50), subject, after).pairs[-1]),
        )
    }
    assert evidence["same"].coverage == ()
    take = next(one for one in evidence["port"].coverage if one.role == "changed")
    assert {line.sign for line in take.drawn} == {" ", "-", "+"}
    assert {line.after_ran for line in take.drawn if line.sign == "+"} >= {"all"}
    assert all(not one.drawn for one in evidence["port"].coverage if one.role == "caller")
    nothing = Evidence()
    assert (
        draw_all(object(), (0, 1), nothing, Search(Findings(), 0, (), (), (None, None))) is nothing
    )


def test_where_coverage_is_not_measured_nothing_ran() -> None:
    one = FunctionCoverage(function="take", role="changed", before=None, after=None)
    tier = toy_port.tier(toy_port.replacing(take=toy_port.take_twice))
    search = Search(Findings(), 0, (), (), (None, None))
    (take,) = draw_all(tier, (0, 1), Evidence(coverage=(one,)), search).coverage
    assert take.drawn
    assert all(line.before_ran is line.after_ran is None for line in take.drawn)


def test_what_did_not_run_has_the_line_that_it_is_on() -> None:
    class Shows:
        def function_text(self, step: int, function: str) -> FunctionText | None:
            return None if step == 0 else FunctionText("f", "f.c", 10, ("\tif (x)", "\t\treturn;"))

        def hunk(self, before: int, after: int, function: str) -> str:
            raise NotImplementedError

    points = ("mm/f.c:11", "10:4 true", "99", "odd")
    missed = tuple(MissedPoint(point=point, required=False) for point in points)
    side = SideCoverage(reached=0, total=4, missed=missed)
    one = FunctionCoverage(function="f", role="caller", before=side, after=side)
    search = Search(Findings(), 0, (), (), (None, None))
    (told,) = draw_all(Shows(), (0, 1), Evidence(coverage=(one,)), search).coverage
    assert told.before == side, "there is no source"
    assert told.after is not None
    assert [point.text for point in told.after.missed] == ["return;", "if (x)", "", ""]
