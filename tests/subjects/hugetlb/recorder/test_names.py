"""Names take the first free slot and give it back, as in recorded traces."""

import pytest

from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError
from equivalence.subjects.hugetlb.recorder.names import SLOTS, Names, Process, Slots


def test_a_new_name_takes_the_first_free_slot() -> None:
    slots = Slots("fd")
    for name in ("f1", "f2", "f3"):
        slots.take(name)
    slots.drop("f1")
    slots.take("f4")
    assert list(slots) == [(0, "f4"), (1, "f2"), (2, "f3")]
    assert slots.slot("f4") == 0


def test_unknown_used_and_too_many_names_are_refused() -> None:
    slots = Slots("mount")
    with pytest.raises(OperationRefusedError, match=r"mount 'h0' does not exist; there are: none"):
        slots.slot("h0")
    slots.take("h0")
    with pytest.raises(OperationRefusedError, match=r"mount 'h0' exists already"):
        slots.free("h0")
    for number in range(1, SLOTS):
        slots.take(f"h{number}")
    with pytest.raises(OperationRefusedError, match=r"no room for mount 'one-more': 16 exist"):
        slots.take("one-more")


def test_a_mapping_is_forgotten_with_its_last_page() -> None:
    process = Process()
    process.add_map("m1", 3)
    process.lose("m1", 1, 1)
    assert process.lost["m1"] == [False, True, False]
    process.lose("m1", 2, 5)
    assert process.lost["m1"] == [False, True, True]
    process.lose("m1", 0, 1)
    assert "m1" not in process.maps
    assert process.lost == {}


def test_a_child_loses_pages_by_itself() -> None:
    names = Names()
    names.add_process("A", Process())
    names.process("A").add_map("m1", 2)
    names.process("A").fds.take("f1")
    names.add_process("C", names.process("A").copy())
    names.process("C").lose("m1", 0, 2)
    names.process("C").fds.drop("f1")
    assert names.process("A").lost == {"m1": [False, False]}
    assert "f1" in names.process("A").fds
    names.drop_process("A")
    with pytest.raises(OperationRefusedError, match="process 'A' does not exist; there are: C"):
        names.process("A")
