"""The page: whole, deaf to what a result says, bounded, and right in its pictures."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from models.schema.result import Counterexample, FieldChange, OutcomeText, Result, TimelineStep
from reports import html, pictures
from reports.states import moments
from tests.reports.results import every_verdict, hostile_alone, hostile_result, toy_result

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page's elements; fails where they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.attributes += [(tag, "", None)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element of SVG that has no content."""
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        """Text between elements."""
        self.words.append(data)

    def all(self, tag: str) -> int:
        """How many elements of a kind there are."""
        return sum(1 for one, name, _ in self.attributes if one == tag and not name)


@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_a_page_is_well_formed_and_alone(make: Any) -> None:
    page = Page(html.write(make()))
    assert page.all("script") == 1
    assert page.all("img") == 0
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert str(value).startswith(("#", "data:,")), (tag, name, value)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {f"#{value}" for value in ids}
    assert all(value in targets for t, n, value in page.attributes if (t, n) == ("a", "href"))


def test_hostile_text_is_text() -> None:
    text = html.write(hostile_result())
    said = "".join(Page(text).words)
    assert "<script>alert(1)</script>" in said
    assert "{{ 7*7 }}" in said
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_golden(snapshot: SnapshotAssertion) -> None:
    text = html.write(toy_result())
    for tag in ("style", "script", "svg"):
        text = re.sub(rf"(?s)<{tag}\b.*?</{tag}>", f"<{tag}/>", text)
    assert re.sub(r"sha256-[^']*", "sha256-HASH", text) == snapshot


def long_result(ops: int) -> Result:
    """A divergence at the end of a trace of many operations, each changing many fields."""
    result = toy_result()
    found = result.pairs[-1].counterexample
    assert found is not None
    changes = tuple(
        FieldChange(field=f"pool.p{n}.free", before=n, after=n, differs=False) for n in range(60)
    )
    steps = tuple(
        TimelineStep(
            index=index,
            op=f"take who=A n={index}",
            before=OutcomeText(ret=0),
            after=OutcomeText(ret=0),
            changed=changes,
            more=5,
        )
        for index in range(min(ops, 2000))
    )
    long = found.model_copy(
        update={
            "timeline": steps,
            "ops": ops,
            "trace": "equivcheck-trace/1 toy\nworld pages=2\n" + "take who=A n=3\n" * ops,
            "differences": found.differences * 500,
        }
    )
    pair = result.pairs[-1].model_copy(update={"counterexample": long})
    return result.model_copy(update={"pairs": (pair,), "defects": result.defects * 200})


def test_a_trace_of_ten_thousand_operations_gives_a_small_page() -> None:
    text = html.write(long_result(10_000))
    assert len(text.encode()) < 5_000_000
    page = "".join(Page(text).words)
    assert "The timeline ends after 2000 of 10000 operations." in page
    assert "earlier ones are in result.json" in page
    assert "more lines" in page
    assert "more fields" in page


def test_many_long_divergences_share_the_page() -> None:
    (pair,) = long_result(10_000).pairs
    found = pair.counterexample
    assert found is not None
    pairs = tuple(
        pair.model_copy(update={"counterexample": found.model_copy(update={"field": f"f{n}"})})
        for n in range(12)
    )
    text = html.write(long_result(10_000).model_copy(update={"pairs": pairs}))
    assert len(text.encode()) < 5_000_000
    assert "".join(Page(text).words).count("f11 after") == 1


def test_pairs_with_the_same_trace_are_shown_once() -> None:
    result = toy_result()
    pair = result.pairs[-1]
    more = pair.model_copy(update={"before": 1, "against": "previous"})
    page = Page(html.write(result.model_copy(update={"pairs": (pair, more)})))
    assert sum(value == "stepper" for _, name, value in page.attributes if name == "class") == 1
    words = " ".join("".join(page.words).split())
    assert "The same trace makes these diverge: patch 2: step 2 against step 1." in words


def test_many_pairs_are_cut_and_it_says_so() -> None:
    result = toy_result()
    text = html.write(result.model_copy(update={"pairs": result.pairs[:1] * 1000}))
    assert "And 800 more pairs; result.json has all." in text


# -- pictures ------------------------------------------------------------------------------------


def change(field: str, before: Any, after: Any) -> FieldChange:
    return FieldChange(field=field, before=before, after=after, differs=before != after)


def example(initial: dict[str, Any], *steps: tuple[FieldChange, ...]) -> Counterexample:
    outcome = OutcomeText(ret=0)
    return Counterexample(
        trace="equivcheck-trace/1 x\nworld a=1\n",
        op_index=len(steps) - 1,
        op="x",
        field="x",
        before_value=0,
        after_value=1,
        ops=len(steps),
        reproducer=None,
        initial=initial,
        timeline=tuple(
            TimelineStep(index=i, op=f"op{i}", before=outcome, after=outcome, changed=changed)
            for i, changed in enumerate(steps)
        ),
    )


INITIAL = {
    "pool": {"2M": {"free": 2, "resv": 0}},
    "lists": {"0": {"hugepage_freelists": [[0, 1], []], "hugepage_activelist": []}},
    "folios": {"0": {"nid": 0}, "1": {"nid": 0}},
    "inodes": {"h0.2": {"resv_map": {"regions": [[0, 2, ""]], "refs": 1}}},
}


def test_states_are_put_together_again() -> None:
    found = example(
        INITIAL,
        (change("pool.2M.free", 1, 1), change("inodes.h0.2.resv_map.regions.0.1", 2, 3)),
        (change("pool.2M.free", "(absent)", 0),),
    )
    boot, one, two = moments(found)
    assert boot.before["pool.2M.free"] == 2
    assert boot.step is None
    assert one.before["pool.2M.free"] == one.after["pool.2M.free"] == 1
    assert one.after["inodes.h0.2.resv_map.regions.0.1"] == 3
    assert "pool.2M.free" not in two.before
    assert two.after["pool.2M.free"] == 0


def test_reservation_maps_are_drawn_as_intervals() -> None:
    found = example(INITIAL, (change("inodes.h0.2.resv_map.regions.0.1", 2, 3),))
    _, now = moments(found)
    (one,) = pictures.reservation_maps(now)
    assert (one.name, one.before, one.after) == ("inodes.h0.2", ((0, 2),), ((0, 3),))
    assert one.differs
    assert one.pages == 3


def test_pages_are_drawn_where_they_are_and_moved_ones_marked() -> None:
    found = example(
        INITIAL,
        (
            change("lists.0.hugepage_freelists.0.0", 1, 0),
            change("lists.0.hugepage_freelists.0.1", "(absent)", 1),
            change("lists.0.hugepage_activelist.0", 0, "(absent)"),
        ),
    )
    boot, now = moments(found)
    (pool,) = pictures.folio_pools(boot, now)
    assert [(p.folio, p.state, p.was) for p in pool.before] == [
        (1, "free", ""),
        (0, "used", "was free"),
    ]
    assert [(p.folio, p.state, p.was) for p in pool.after] == [
        (0, "free", ""),
        (1, "free", ""),
    ]
    assert pool.differs


def test_the_c_has_the_same_pictures() -> None:
    page = {"folio": 1, "node": 0}
    found = example(
        {
            "counters": {"2M": {"free": 1, "resv": 0}},
            "lists": {"0": {"free": [[page], []], "active": []}},
            "reservations": [[{"refs": 1, "regions": [[0, 2, 0]]}], []],
            "subpools": {"h0": {"used": 0, "rsv": 1}},
        },
        (
            change("counters.2M.free", 0, 1),
            change("lists.0.free.0.0.folio", "(absent)", 1),
            change("lists.0.free.0.0.node", "(absent)", 0),
            change("lists.0.active.0.folio", 1, "(absent)"),
            change("lists.0.active.0.node", 0, "(absent)"),
            change("subpools.h0.rsv", 0, 0),
        ),
    )
    boot, now = moments(found)
    (pool,) = pictures.folio_pools(boot, now)
    assert (pool.hstate, pool.node) == ("0", "0")
    assert [(p.folio, p.state, p.was) for p in pool.before] == [(1, "used", "was free")]
    assert [(p.folio, p.state, p.was) for p in pool.after] == [(1, "free", "")]
    (one,) = pictures.reservation_maps(now)
    assert (one.name, one.before, one.pages) == ("reservations.0.0", ((0, 2),), 2)
    charts, _ = pictures.counter_charts([boot, now], "c")
    assert ["counters.2M.free" in charts[0], "subpools.h0.rsv" in charts[1]] == [True, True]


def test_counters_that_change_are_plotted_those_that_differ_first() -> None:
    below = 2**64 - 1
    found = example(INITIAL, (change("pool.2M.free", 1, 1),), (change("pool.2M.resv", below, 0),))
    every = list(moments(found))
    charts, more = pictures.counter_charts(every, "c")
    assert more == 0
    assert len(charts) == 2
    assert "pool.2M.resv" in charts[0]
    assert ">-1<" in charts[0]
    assert "script" not in "".join(charts)
    assert "Generated" not in "".join(charts)


def test_what_is_too_much_is_not_drawn() -> None:
    regions = {f"f{n}": {"resv_map": {"regions": [[0, 1, ""]], "refs": 1}} for n in range(40)}
    wide = {"w": {"resv_map": {"regions": [[0, 10**9, ""]], "refs": 1}}}
    lists = {"0": {"hugepage_freelists": [list(range(500))], "hugepage_activelist": []}}
    pool = {f"p{n}": {"free": 1} for n in range(30)}
    found = example(
        {"inodes": {**regions, **wide}, "lists": lists, "pool": pool},
        tuple(change(f"pool.p{n}.free", 0, 0) for n in range(30)),
    )
    boot, now = moments(found)
    drawn = pictures.pictures(boot, now)
    assert len(drawn.maps) == pictures.MAX_MAPS
    assert drawn.pools == ()
    assert drawn.too_many == (
        "40 reservation maps, 16 are drawn",
        "500 huge pages, none is drawn",
    )
    assert pictures.counter_charts([boot, now], "c")[1] == 30 - pictures.MAX_CHARTS


def test_a_state_without_such_fields_has_no_pictures() -> None:
    boot, now = moments(example({"pool": {"a": "text"}}, (change("pool.a", "b", "b"),)))
    assert not pictures.pictures(boot, now)
    assert pictures.counter_charts([boot, now], "c") == ([], 0)


def test_sides_that_differ_at_boot() -> None:
    found = example(INITIAL).model_copy(
        update={"op_index": -1, "differences": (change("pool.2M.free", 2, 3),)}
    )
    (boot,) = moments(found)
    assert boot.before["pool.2M.free"] == 2
    assert boot.after["pool.2M.free"] == 3
    result = toy_result()
    pair = result.pairs[-1].model_copy(update={"counterexample": found})
    text = html.write(result.model_copy(update={"pairs": (pair,)}))
    assert "At boot the two sides no longer agree" in " ".join("".join(Page(text).words).split())


def test_the_assets_are_part_of_the_package() -> None:
    folder = Path(html.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {"page.css", "page.js", "report.html.j2"}
