"""Two recordings are the same when everything that repeats is."""

import copy
from pathlib import Path
from typing import Any

import pytest

from equivalence.subjects.hugetlb.recorder.record import dump, load
from equivalence.subjects.hugetlb.recorder.same import differences

RECORDED = Path(__file__).parent / "recorded"
Json = dict[str, Any]


@pytest.fixture
def trace() -> list[Json]:
    return load((RECORDED / "s06_fork_child_cow_no_page_sigbus.jsonl").read_text())


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.stem)
def test_text_reads_and_writes_back_unchanged(path: Path) -> None:
    text = path.read_text()
    assert dump(load(text)) == text


def test_a_trace_is_the_same_as_itself(trace: list[Json]) -> None:
    assert differences(trace, copy.deepcopy(trace)) == []


def test_frames_and_log_may_differ(trace: list[Json]) -> None:
    other = load(dump(trace).replace('"0:19"', '"0:77"'))
    other[7]["klog"] = ["a line"]
    assert other != trace
    assert differences(trace, other) == []


def test_another_node_is_a_difference(trace: list[Json]) -> None:
    other = load(dump(trace).replace('"0:19"', '"1:19"'))
    assert differences(trace, other)[0].field == "procs.A.maps.m1[0]"


def test_another_page_is_a_difference(trace: list[Json]) -> None:
    other = copy.deepcopy(trace)
    # Parent and child share this page; now the child has a page of its own on the same node.
    other[6]["procs"]["C"]["maps"]["m1"][0] = "0:20"
    assert [str(found) for found in differences(trace, other)] == [
        "operation 6: procs.C.maps.m1[0]: recorded '0:page 0', now '0:page 2'"
    ]


def _world(lines: list[Json]) -> None:
    lines[0]["world"]["nr_hugepages"] += 1


def _initial(lines: list[Json]) -> None:
    lines[0]["initial"]["nodes"][1]["free"] = 7


def _errno(lines: list[Json]) -> None:
    lines[7]["result"]["errno"] = "ENOMEM"


def _signal(lines: list[Json]) -> None:
    del lines[7]["result"]["signal"]


def _pool(lines: list[Json]) -> None:
    lines[3]["pool"]["resv"] = -1


def _tail(lines: list[Json]) -> None:
    lines[-1]["idle"]["resv"] = 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_world, "head: world.nr_hugepages: recorded 2, now 3"),
        (_initial, "head: initial.nodes[1].free: recorded 1, now 7"),
        (_errno, "operation 7: result.errno: recorded None, now 'ENOMEM'"),
        (_signal, "operation 7: result.signal: recorded 'SIGBUS', now '(absent)'"),
        (_pool, "operation 3: pool.resv: recorded 1, now -1"),
        (_tail, "tail: idle.resv: recorded 0, now 1"),
    ],
)
def test_each_field_is_compared(trace: list[Json], change: Any, expected: str) -> None:
    other = copy.deepcopy(trace)
    change(other)
    assert [str(found) for found in differences(trace, other)] == [expected]


def test_a_shorter_trace_is_a_difference(trace: list[Json]) -> None:
    assert differences(trace, trace[:-1])[0].field == "number of lines"
