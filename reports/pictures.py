"""What people would rather look at than read: reservation maps, pools, counters.

Everything is found by the names that the observation's fields have; a state without such fields has
no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from markupsafe import Markup

from reports.plot import Series, line_chart
from reports.states import Flat, Moment

#: More than so many are not drawn.
MAX_MAPS: Final = 16
MAX_FOLIOS: Final = 96
MAX_CHARTS: Final = 8
#: Widest reservation map that is drawn, in pages.
MAX_PAGES: Final = 4096

#: Names as the ports have them, and as the C's observation has them.
_REGION: Final = re.compile(
    r"(.+\.resv_map|reservations\.[0-9]+\.[0-9]+)\.regions\.([0-9]+)\.([01])"
)
_MAP: Final = re.compile(r"(.+\.resv_map|reservations\.[0-9]+\.[0-9]+)\.refs")
_FREE: Final = re.compile(
    r"lists\.([^.]+)\.(?:hugepage_freelists|free)\.([0-9]+)\.[0-9]+(?:\.folio)?"
)
_ACTIVE: Final = re.compile(r"(lists\.([^.]+)\.(?:hugepage_activelist|active)\.[0-9]+)(?:\.folio)?")
_COUNTER: Final = re.compile(
    r"(?:pool|counters)\..+\.(?:nr|free|resv|surplus)"
    r"|subpools\..+\.(?:used_hpages|rsv_hpages|used|rsv)"
)
_WRAPPED: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class ReservationMap:
    """One reservation map on both sides; regions are (from, to), in pages, ``to`` not included."""

    name: str
    before: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    pages: int

    @property
    def differs(self) -> bool:
        """Whether the two sides hold different reservations."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Page:
    """One huge page of a pool: its number, free, used or gone, and where it was, if it moved."""

    folio: int
    state: str
    was: str = ""

    @property
    def moved(self) -> bool:
        """Whether the operation moved it."""
        return bool(self.was)


@dataclass(frozen=True, slots=True)
class Pool:
    """The pages of one hstate on one node, on both sides."""

    hstate: str
    node: str
    before: tuple[Page, ...]
    after: tuple[Page, ...]

    @property
    def differs(self) -> bool:
        """Whether the two sides have different pages here."""
        return [(p.folio, p.state) for p in self.before] != [(p.folio, p.state) for p in self.after]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one moment; ``too_many`` says what was left out."""

    maps: tuple[ReservationMap, ...] = ()
    pools: tuple[Pool, ...] = ()
    too_many: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.maps or self.pools or self.too_many)


def pictures(last: Moment | None, now: Moment) -> Pictures:
    """What to draw of one moment; ``last`` is the one before, None at the boot."""
    maps, pools = reservation_maps(now), folio_pools(last, now)
    too_many = []
    if len(maps) > MAX_MAPS:
        too_many.append(f"{len(maps)} reservation maps, {MAX_MAPS} are drawn")
    count = sum(max(len(pool.before), len(pool.after)) for pool in pools)
    if count > MAX_FOLIOS:
        too_many.append(f"{count} huge pages, none is drawn")
        pools = ()
    return Pictures(maps[:MAX_MAPS], pools, tuple(too_many))


def reservation_maps(now: Moment) -> tuple[ReservationMap, ...]:
    """All reservation maps that hold something, those that differ first."""
    before, after = _regions(now.before), _regions(now.after)
    found = []
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, ()), after.get(name, ())
        pages = max([end for _, end in (*one, *other)], default=0)
        if 0 < pages <= MAX_PAGES:
            found.append(ReservationMap(name, one, other, pages))
    return tuple(sorted(found, key=lambda one: not one.differs))


def _regions(state: Flat) -> dict[str, tuple[tuple[int, int], ...]]:
    bounds: dict[str, dict[int, dict[str, int]]] = {}
    for path, value in state.items():
        found = _MAP.fullmatch(path)
        if found is not None:
            bounds.setdefault(found[1], {})
        match = _REGION.fullmatch(path)
        if match is not None and isinstance(value, int):
            bounds.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = value
    return {
        name.removesuffix(".resv_map"): tuple(
            (one["0"], one["1"])
            for _, one in sorted(regions.items())
            if "0" in one and "1" in one and 0 <= one["0"] <= one["1"]
        )
        for name, regions in bounds.items()
    }


def folio_pools(last: Moment | None, now: Moment) -> tuple[Pool, ...]:
    """Every node's pages of each hstate: free ones in the order of their list, then active ones."""
    before = _folios(last.before if last else None, now.before)
    after = _folios(last.after if last else None, now.after)
    return tuple(
        Pool(*key, tuple(before.get(key, ())), tuple(after.get(key, ())))
        for key in sorted({*before, *after})
    )


def _places(state: Flat) -> dict[int, tuple[str, str, bool]]:
    """Folio -> hstate, node and whether it is free, in the order of the lists."""
    places: dict[int, tuple[str, str, bool]] = {}
    for path, value in state.items():
        free, active = _FREE.fullmatch(path), _ACTIVE.fullmatch(path)
        if free is not None and isinstance(value, int):
            places[value] = (free[1], free[2], True)
        elif active is not None and isinstance(value, int):
            node = state.get(f"folios.{value}.nid", state.get(f"{active[1]}.node", "?"))
            places[value] = (active[2], str(node), False)
    return places


def _folios(last: Flat | None, now: Flat) -> dict[tuple[str, str], list[Page]]:
    places = _places(now)
    earlier = _places(last) if last is not None else places
    pools: dict[tuple[str, str], list[Page]] = {}
    for folio, place in places.items():
        was = _moved(earlier.get(folio), place)
        pools.setdefault(place[:2], []).append(Page(folio, _state(place), was))
    for folio, place in earlier.items():
        if folio not in places:
            pools.setdefault(place[:2], []).append(Page(folio, "gone", _state(place)))
    return {
        key: sorted(pages, key=lambda page: (_ORDER.index(page.state), page.folio))
        for key, pages in pools.items()
    }


_ORDER: Final = ("free", "used", "gone")


def _state(place: tuple[str, str, bool]) -> str:
    return "free" if place[2] else "used"


def _moved(was: tuple[str, str, bool] | None, now: tuple[str, str, bool]) -> str:
    """Where a page was before the operation; "" if it is still there."""
    if was is None:
        return "new"
    if was[:2] != now[:2]:
        return f"from node {was[1]}"
    return f"was {_state(was)}" if was != now else ""


def counter_charts(found: Sequence[Moment], name: str) -> tuple[list[Markup], int]:
    """A chart for each counter that changes, those that differ first; how many were left out."""
    names = [path for path in found[0].before if _COUNTER.fullmatch(path)]
    names += [path for path in found[-1].before if _COUNTER.fullmatch(path) and path not in names]
    series: list[tuple[bool, str, Series, Series]] = []
    for path in names:
        one = [_number(moment.before, path) for moment in found]
        other = [_number(moment.after, path) for moment in found]
        if len({*one, *other} - {None}) > 1:
            series.append((one == other, path, one, other))
    series.sort(key=lambda item: item[0])
    charts = [
        line_chart(f"{name}-{number}", path, one, other)
        for number, (_, path, one, other) in enumerate(series[:MAX_CHARTS])
    ]
    return charts, max(0, len(series) - MAX_CHARTS)


def _number(state: Mapping[str, Any], path: str) -> int | None:
    """A counter; an unsigned long that fell below zero is drawn below zero."""
    value = state.get(path)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    # What is no 64-bit word comes from no kernel, and cannot be drawn on a line with others.
    if not -_WRAPPED <= value < 2 * _WRAPPED:
        return None
    return value - 2 * _WRAPPED if value >= _WRAPPED else value
