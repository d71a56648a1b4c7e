"""Fates on disk: what is known is not searched again, and nothing else is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from equivalence.backends.port_planter import PortPlanter
from equivalence.fates import Fates, FatesError, fingerprint, going_on
from equivalence.mutants import Mutant
from equivalence.mutate import Fate, Plan
from models.schema.trace import Op, Trace
from tests.toy_port import replacing, take_twice, tier


def mutant(nth: int) -> Mutant:
    return Mutant("take", "drop", "a", "b", nth, 1, "")


def fates(number: int) -> Iterator[Fate]:
    for nth in range(number):
        yield Fate(mutant(nth), "examples", "diverged", "pool.free", nth, 0.5, "trace")


def test_a_hunt_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "fates"
    mutants = [mutant(nth) for nth in range(4)]
    first = list(going_on(Fates(path, "mark"), mutants[:2], fates(2)))
    assert [fate.ops for fate in first] == [0, 1]
    again = Fates(path, "mark")
    assert again.fate(mutants[0]) == first[0]
    assert again.fate(mutants[2]) is None
    rest = (fate for fate in list(fates(4))[2:])
    assert list(going_on(again, mutants, rest)) == list(fates(4))
    assert len(Fates(path, "mark").known) == 4
    assert list(going_on(None, mutants, fates(4))) == list(fates(4))


def test_half_a_line_is_what_a_killed_run_leaves(tmp_path: Path) -> None:
    path = tmp_path / "fates"
    list(going_on(Fates(path, "mark"), [mutant(0)], fates(1)))
    with path.open("a") as file:
        file.write('{"key": "ta')
    again = Fates(path, "mark")
    assert len(again.known) == 1
    again.add(Fate(mutant(1)))
    assert len(Fates(path, "mark").known) == 2


def test_what_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fates"
    Fates(path, "mark")
    with pytest.raises(FatesError, match="of other code, mutants, traces or budget; remove it"):
        Fates(path, "another")
    path.write_text("{}\n")
    with pytest.raises(FatesError, match="expected a file of 'mutate'"):
        Fates(path, "mark")
    path.write_text("no end of a line")
    with pytest.raises(FatesError, match="expected a file of 'mutate'"):
        Fates(path, "mark")
    monkeypatch.setattr("equivalence.fates.MAX_BYTES", 4)
    with pytest.raises(FatesError, match="larger than 4 bytes"):
        Fates(path, "mark")
    with pytest.raises(FatesError, match="cannot be read or written"):
        Fates(tmp_path / "no" / "folder", "mark")
    kept = Fates(tmp_path / "gone", "mark")
    (tmp_path / "gone").unlink()
    (tmp_path / "gone").mkdir()
    with pytest.raises(FatesError, match="cannot be written"):
        kept.add(Fate(mutant(0)))


def test_the_fingerprint_stands_for_all_that_fates_depend_on() -> None:
    one, other = PortPlanter(tier()), PortPlanter(tier(replacing(take=take_twice)))
    mutants = one.named(0, ["take"])
    trace = Trace("toy", {"pages": 1}, (Op("give", {"proc": "A"}),))
    marks = {
        fingerprint(one.mark(0), mutants, Plan(), ()),
        fingerprint(other.mark(1), mutants, Plan(), ()),
        fingerprint(one.mark(0), mutants[1:], Plan(), ()),
        fingerprint(one.mark(0), mutants, Plan(ops=1), ()),
        fingerprint(one.mark(0), mutants, Plan(), (trace,)),
    }
    assert len(marks) == 5
    assert fingerprint(one.mark(0), mutants, Plan(), ()) in marks
