"""Calibration agrees with the recorded kernel, and finds whatever does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from equivalence.backends.port import PortSystem
from equivalence.series import Step
from equivalence.subjects.hugetlb.calibration import (
    NOT_COMPARED,
    Calibration,
    Pairing,
    PortReplayer,
    calibrate,
    count_fields,
    unequal,
)
from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.recording import Json, Recording, by_name
from equivalence.subjects.hugetlb.series import HugetlbConventions, stable
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op

FIDELITY = Path(__file__).parents[4] / "docs" / "fidelity.md"


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return corpus()


def replayer(step: Step) -> PortReplayer:
    return PortReplayer(PortSystem(step, HugetlbConventions()))


def recorded_step() -> Step:
    return stable().steps[-1]


def one(recordings: list[Recording], name: str) -> Recording:
    return copy.deepcopy(by_name(recordings)[name])


def test_the_recorded_kernel_agrees_in_every_field_of_every_trace(
    recordings: list[Recording],
) -> None:
    result = calibrate(recordings, replayer(recorded_step()))
    assert result.first() == {}
    assert (result.traces, result.agreeing, result.skipped_operations) == (467, 467, 0)
    # Every operation, and the boot and the tail of each trace.
    assert sum(result.operations.values()) == 15881 + 2 * 467
    assert sum(result.fields.values()) == 511_971
    told = FIDELITY.read_text()
    assert "| recordings | 467, all agree |" in told
    assert f"| operations | {sum(result.operations.values()):,} with" in told
    assert f"| fields | {sum(result.fields.values()):,} |" in told


#: A fix, and the smallest recording that shows what the step before it does instead.
TELLING = {
    "cow-from-owner": ("e13_cow_from_owner_min_size", 7, "pool.resv", 0, 1),
    "unmap": ("e14_owner_unmaps_after_fork", 5, "pool.resv", 0, -1),
    "dissolve": ("e31_dissolve_surplus", 9, "pool.surplus", 0, 1),
}
#: Fixes that no recording can show, and why not.
NOT_TELLING = {
    "cgroup-pointers": "the task would have to change its cgroup between two charges of one fault",
    "truncate": "only the order of two locks",
    "fault": "the same pages are copied",
    "fork": "the copy fails only on a memory error that the processor reports",
    "uffd": "the second copy fails only on a memory error that the processor reports",
    "migrate": "the same state, in other order",
    "split": "page tables are never shared between mappings this small",
}


@pytest.mark.parametrize("name", TELLING)
def test_the_step_before_a_fix_that_recordings_can_see_disagrees(
    recordings: list[Recording], name: str
) -> None:
    trace, number, field, recorded, computed = TELLING[name]
    steps = stable().steps
    fixed = next(step.number for step in steps if step.name == name)
    recording = one(recordings, trace)
    found = calibrate([recording], replayer(steps[fixed - 1])).disagreements[0]
    assert (found.number, found.field) == (number, field)
    assert (found.recorded, found.computed) == (recorded, computed)
    # The fix alone is enough where no later one is told apart by this recording.
    assert calibrate([recording], replayer(steps[fixed])).agrees
    # And the whole corpus tells them apart as well.
    assert not calibrate(recordings, replayer(steps[fixed - 1])).agrees


def test_each_fix_is_told_apart_or_named_as_one_that_cannot_be(recordings: list[Recording]) -> None:
    steps = stable().steps
    assert {*TELLING, *NOT_TELLING} == {step.name for step in steps[1:]}
    for name in NOT_TELLING:
        fixed = next(step.number for step in steps if step.name == name)
        extensions = [one for one in recordings if one.name.startswith("e")]
        sides = [calibrate(extensions, replayer(steps[n])).first() for n in (fixed - 1, fixed)]
        assert sides[0] == sides[1], name


class Altered:
    """A replayer that changes one answer of a system before it is compared."""

    def __init__(self, alter: Any) -> None:
        self._inner = replayer(recorded_step())
        self._alter = alter

    def boot(self, world: Args) -> None:
        self._inner.boot(world)

    def apply(self, op: Op) -> Outcome:
        return self._inner.apply(op)

    def view(self) -> Json:
        view = self._inner.view()
        self._alter(view)
        return view

    def frames(self) -> Any:
        return self._inner.frames()

    def tail(self) -> Json:
        tail = self._inner.tail()
        self._alter(tail)
        return tail


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for at, item in enumerate(value) for leaf in leaves(item, (*path, at))]
    return [path]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_every_field_of_an_operation_line_and_of_the_tail_is_compared(
    recordings: list[Recording],
) -> None:
    """Change each recorded value of a line in turn: each change is found, at its path."""
    recording = one(recordings, "s52_cgroup_removed_with_charges")
    agreeing = replayer(recorded_step())
    changed = 0
    for number in (9, len(recording.lines)):
        line = recording.lines[number - 1]
        for part in ("result", "pool", "nodes", "mounts", "cgroups", "procs"):
            for path in leaves(line.get(part, {}), (part,)) if part in line else ():
                other = copy.deepcopy(recording)
                parent = at(other.lines[number - 1], path[:-1])
                old = parent[path[-1]]
                parent[path[-1]] = other_value(old)
                result = calibrate([other], agreeing)
                found = result.disagreements[0]
                assert (found.number, found.op) == (number, line["op"])
                assert (found.recorded, result.agreeing) == (other_value(old), 0)
                changed += 1
    for path in leaves(recording.tail):
        other = copy.deepcopy(recording)
        parent = at(other.tail, path[:-1])
        parent[path[-1]] = other_value(parent[path[-1]])
        result = calibrate([other], agreeing)
        assert [found.op for found in result.disagreements] == ["tail"]
        changed += 1
    assert changed > 60


def other_value(value: Any) -> Any:
    if value is None:
        return "1:99"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value == "max":
        return 7
    return None


def test_a_page_on_another_node_or_in_anothers_place_is_found(recordings: list[Recording]) -> None:
    recording = one(recordings, "s01_private_reserve_consumed_by_owner")
    line = next(line for line in recording.lines if line["op"] == "touch_write")
    # The same frame on another node.
    other = copy.deepcopy(recording)
    pages = other.lines[line["i"] - 1]["procs"]["A"]["maps"]["m1"]
    node, _, frame = pages[0].partition(":")
    pages[0] = f"{1 - int(node)}:{frame}"
    found = calibrate([other], replayer(recorded_step())).disagreements
    assert [one.field for one in found] == ["procs.A.maps.m1[0]"]
    assert found[0].computed.endswith("(another node)")
    # A page that becomes another one from one operation to the next.
    other = copy.deepcopy(recording)
    for later in other.lines[line["i"] :]:
        later_pages = later["procs"].get("A", {"maps": {}})["maps"].get("m1", [])
        if later_pages:
            later_pages[0] = "0:999"
    found = calibrate([other], replayer(recorded_step())).disagreements
    assert (found[0].number, found[0].field) == (line["i"] + 1, "procs.A.maps.m1[0]")


def test_frame_numbers_themselves_are_not_compared(recordings: list[Recording]) -> None:
    recording = one(recordings, "s05_fork_cow_enough_pages")
    text = json.dumps(recording.lines)
    for frame in range(1, 1000):
        text = text.replace(f':{frame}"', f':{frame + 5000}"')
    other = Recording(recording.head, tuple(json.loads(text)), recording.tail)
    assert other.lines != recording.lines
    assert calibrate([other], replayer(recorded_step())).agrees


def test_the_order_of_the_free_lists_shows(recordings: list[Recording]) -> None:
    """A kernel that put freed pages at the end of the list would give others out next."""
    system = PortSystem(recorded_step(), HugetlbConventions())
    namespace: Any = system.namespace
    namespace["list_move"] = namespace["list_move_tail"]
    result = calibrate(recordings, PortReplayer(system))
    assert result.agreeing < 0.66 * result.traces
    assert any(".maps." in found.field for found in result.first().values())


def test_a_system_that_ends_is_a_disagreement(recordings: list[Recording]) -> None:
    system = PortSystem(recorded_step(), HugetlbConventions())
    namespace: Any = system.namespace
    bug_on = namespace["bug_on"]
    assert isinstance(bug_on, FunctionType)

    def op_munmap(args: Args) -> Outcome:
        bug_on(True, "planted")
        raise AssertionError

    system._ops["munmap"] = op_munmap  # type: ignore[assignment]
    recording = one(recordings, "s01_private_reserve_consumed_by_owner")
    result = calibrate([recording], PortReplayer(system))
    fields = {found.field: found.computed for found in result.disagreements}
    assert str(fields["result.ending"]).startswith("bug: planted")
    assert result.skipped_operations == len(recording.lines) - result.disagreements[0].number


def test_what_follows_a_disagreement_is_not_compared(recordings: list[Recording]) -> None:
    recording = one(recordings, "s05_fork_cow_enough_pages")
    recording.lines[2]["pool"]["nr"] += 1
    recording.lines[4]["pool"]["nr"] += 1
    seen: list[str] = []
    result = calibrate(
        [recording], replayer(recorded_step()), lambda done, _: seen.append(done.name)
    )
    assert [(found.number, found.field) for found in result.disagreements] == [(3, "pool.nr")]
    assert (seen, result.skipped_operations) == ([recording.name], len(recording.lines) - 3)
    cell = result.table()[("scenario", recording.lines[2]["op"])]
    assert (cell.operations, cell.disagreeing) == (1, 1)


def test_the_world_at_boot_is_compared(recordings: list[Recording]) -> None:
    recording = one(recordings, "s05_fork_cow_enough_pages")
    recording.head["initial"]["nodes"][1]["free"] = 9
    found = calibrate([recording], replayer(recorded_step())).disagreements
    assert [(one.number, one.op, one.field) for one in found] == [(0, "boot", "nodes[1].free")]


def test_a_view_with_more_or_less_than_recorded_is_found(recordings: list[Recording]) -> None:
    recording = one(recordings, "s05_fork_cow_enough_pages")

    def more(view: Json) -> None:
        view["cgroups"] = {}

    def less(view: Json) -> None:
        view.pop("mounts", None)

    for alter, field in ((more, "cgroups"), (less, "mounts")):
        found = calibrate([recording], Altered(alter)).disagreements
        assert found[0].field == field


def test_the_result_as_json(recordings: list[Recording]) -> None:
    recording = one(recordings, "s05_fork_cow_enough_pages")
    recording.lines[0]["pool"]["nr"] += 1
    result = calibrate([recording], replayer(recorded_step())).as_json()
    text = json.loads(json.dumps(result))
    assert text["schema"] == "equivcheck/calibration/1"
    assert (text["traces"], text["agreeing_traces"], text["operations"]) == (1, 0, 2)
    assert text["disagreements"][0]["field"] == "pool.nr"
    assert [entry["section"] for entry in text["not_compared"]] == ["procs", "klog"]
    assert all(entry.reason for entry in NOT_COMPARED)


def test_pairs_end_when_the_page_leaves_the_pool() -> None:
    page, other = object(), object()
    pairing = Pairing()
    assert pairing.name("0:7", "0:1", {"0:1": page}) == "0:7"
    assert pairing.name("0:8", "0:1", {"0:1": page}) == "0:7 (the page known by this)"
    assert pairing.name("0:7", "0:2", {"0:1": page}) == "0:2 (a page not seen before)"
    pairing.forget_gone({"0:1": page})
    assert pairing.name("0:8", "0:1", {"0:1": page}) != "0:8"
    # The frame is in the pool again, but as another page.
    pairing.forget_gone({"0:1": other})
    assert pairing.name("0:8", "0:1", {"0:1": other}) == "0:8"
    assert pairing.name(None, "0:1", {}) == "0:1"
    assert pairing.name("-", None, {}) is None


def test_fields_are_counted_and_named() -> None:
    assert count_fields({"a": [1, 2, None], "b": {}, "c": {"d": 1}}) == 5
    recorded = {"a": [1, {"b": 2}], "c": 3}
    computed = {"a": [1, {"b": 4}], "d": 3}
    assert list(unequal("", recorded, computed)) == [
        ("a[1].b", 2, 4),
        ("c", 3, "(absent)"),
        ("d", "(absent)", 3),
    ]
    assert list(unequal("x", [1], [1, 2])) == [("x", [1], [1, 2])]
    assert Calibration().agrees
