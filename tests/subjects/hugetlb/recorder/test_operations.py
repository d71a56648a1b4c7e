"""Operations of the format become requests; what the kernel must not see is refused."""

from typing import Any

import pytest

from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError
from equivalence.subjects.hugetlb.recorder.names import Names, Process
from equivalence.subjects.hugetlb.recorder.operations import operations, translate

Args = dict[str, Any]


@pytest.fixture
def names() -> Names:
    """Process A (slot 0) with m1 of 3 pages and f1, process B, mount h0, cgroup g1, shm s1."""
    names = Names()
    names.add_process("A", Process())
    names.add_process("B", Process())
    names.process("A").add_map("m1", 3)
    names.process("A").fds.take("f1")
    names.process("A").pins.take("p1")
    names.mounts.take("h0")
    names.cgroups.take("g1")
    names.segments.take("s1")
    names.segment_length["s1"] = 2
    names.frames["k1"] = 17
    names.shown["A"] = {"m1": [None, "0:9", None]}
    return names


REQUESTS: list[tuple[str, Args, str]] = [
    ("spawn", {"id": "C"}, "spawn 2"),
    ("fork", {"proc": "B", "child": "C"}, "fork 1 2"),
    ("exit", {"proc": "B"}, "exit 1"),
    ("kill", {"proc": "B"}, "kill 1"),
    ("sched_setaffinity", {"proc": "A", "cpu": 1}, "sched_setaffinity 0 1"),
    ("mmap", {"proc": "A", "map": "m2", "type": "private", "len": 4}, "mmap 0 1 4 3 262178 -1 0"),
    (
        "mmap",
        {
            "proc": "A",
            "map": "m2",
            "type": "shared",
            "len": 1,
            "fd": "f1",
            "off": 7,
            "noreserve": 1,
            "populate": 1,
            "prot": "r",
        },
        "mmap 0 1 1 1 49153 0 7",
    ),
    ("munmap", {"proc": "A", "map": "m1"}, "munmap 0 0 0 3"),
    ("munmap", {"proc": "A", "map": "m1", "start": 1, "len": 1}, "munmap 0 0 1 1"),
    ("mremap", {"proc": "A", "map": "m1", "new_len": 2}, "mremap 0 0 0 3 2 -1"),
    ("mremap", {"proc": "A", "map": "m1", "to": "m2"}, "mremap 0 0 0 3 3 1"),
    ("mprotect", {"proc": "A", "map": "m1", "prot": "none"}, "mprotect 0 0 0 3 0"),
    ("madvise", {"proc": "A", "map": "m1", "advice": "dontneed"}, "madvise 0 0 0 3 4"),
    ("touch_read", {"proc": "A", "map": "m1", "page": 2}, "touch 0 0 2 0"),
    ("touch_write", {"proc": "A", "map": "m1", "page": 9}, "touch 0 0 9 1"),
    ("mbind", {"proc": "A", "map": "m1", "mode": "bind", "nodes": "1"}, "mbind 0 0 0 3 2 2"),
    ("set_mempolicy", {"proc": "A", "mode": "default"}, "set_mempolicy 0 0 0"),
    ("set_mempolicy", {"proc": "A", "mode": "interleave", "nodes": "0,1"}, "set_mempolicy 0 3 3"),
    ("migrate_pages", {"proc": "A", "from": 0, "to": 1}, "migrate_pages 0 1 2"),
    ("open", {"proc": "B", "fd": "f1", "mount": "h0", "name": "x"}, "open 1 0 0 =x"),
    ("memfd_create", {"proc": "A", "fd": "f2"}, "memfd_create 0 1"),
    ("close", {"proc": "A", "fd": "f1"}, "close 0 0"),
    ("ftruncate", {"proc": "A", "fd": "f1", "len": 2}, "ftruncate 0 0 2"),
    ("fallocate", {"proc": "A", "fd": "f1", "off": 1, "len": 2}, "fallocate 0 0 0 1 2"),
    (
        "fallocate",
        {"proc": "A", "fd": "f1", "mode": "punch_hole", "off": 0, "len": 1},
        "fallocate 0 0 3 0 1",
    ),
    ("unlink", {"mount": "h0", "name": "x"}, "unlink 0 =x"),
    ("shmget", {"shm": "s2", "len": 2, "noreserve": 1}, "shmget 1 2 1"),
    ("shmat", {"proc": "A", "shm": "s1", "map": "m2"}, "shmat 0 1 0 2"),
    ("shm_rmid", {"shm": "s1"}, "shm_rmid 0"),
    ("mount", {"mount": "h1"}, "mount 1 -1 -1"),
    ("mount", {"mount": "h1", "size": 0, "min_size": 2}, "mount 1 0 2"),
    ("umount", {"mount": "h0"}, "umount 0"),
    ("set_nr_hugepages", {"n": 5}, "set_nr_hugepages 5 0"),
    ("set_nr_overcommit_hugepages", {"n": 0}, "set_nr_overcommit_hugepages 0 0"),
    ("set_node_nr_hugepages", {"node": 1, "n": 2}, "set_node_nr_hugepages 1 2"),
    ("cgroup_create", {"cgroup": "g2"}, "cgroup_create 1"),
    ("cgroup_rmdir", {"cgroup": "g1"}, "cgroup_rmdir 0"),
    ("cgroup_set", {"cgroup": "g1", "file": "rsvd.max", "value": "max"}, "cgroup_set 0 1 -1"),
    ("cgroup_set", {"cgroup": "g1", "file": "max", "value": 3}, "cgroup_set 0 0 3"),
    ("cgroup_attach", {"cgroup": "g1", "target": "B"}, "cgroup_attach 0 1"),
    ("cgroup_attach", {"cgroup": "/", "target": "B"}, "cgroup_attach -1 1"),
    ("cgroup_mems", {"cgroup": "g1", "nodes": "0,1"}, "cgroup_mems 0 3"),
    ("cgroup_mems", {"cgroup": "g1", "nodes": ""}, "cgroup_mems 0 0"),
    ("uffd_register", {"proc": "A", "map": "m1"}, "uffd_register 0 0 0 3 1"),
    (
        "uffd_register",
        {"proc": "A", "map": "m1", "start": 1, "len": 1, "mode": "minor"},
        "uffd_register 0 0 1 1 4",
    ),
    ("uffd_unregister", {"proc": "A", "map": "m1", "start": 2}, "uffd_unregister 0 0 2 1"),
    ("uffd_copy", {"proc": "A", "map": "m1", "page": 1}, "uffd_copy 0 0 1 1 0 0"),
    ("uffd_copy", {"proc": "A", "map": "m1", "page": 1, "cold": 1}, "uffd_copy 0 0 1 1 0 1"),
    ("uffd_copy", {"proc": "A", "map": "m1", "page": 1, "wp": 1}, "uffd_copy 0 0 1 1 1 0"),
    ("uffd_continue", {"proc": "A", "map": "m1", "page": 2}, "uffd_continue 0 0 2 1 0"),
    ("uffd_poison", {"proc": "A", "map": "m1", "page": 2}, "uffd_poison 0 0 2 1"),
    ("uffd_writeprotect", {"proc": "A", "map": "m1"}, "uffd_writeprotect 0 0 0 3 1"),
    (
        "uffd_writeprotect",
        {"proc": "A", "map": "m1", "start": 1, "resolve": 1},
        "uffd_writeprotect 0 0 1 2 0",
    ),
    ("note_frame", {"proc": "A", "map": "m1", "page": 1, "frame": "k2"}, "nothing"),
    ("soft_offline", {"frame": "k1"}, "offline 0 17"),
    ("set_nr_hugepages", {"n": 3, "sysctl": 1}, "set_nr_hugepages 3 1"),
    ("set_nr_hugepages_mempolicy", {"proc": "B", "n": 3}, "set_nr_hugepages_mempolicy 1 3 0"),
    ("set_interleave_weight", {"node": 1, "weight": 2}, "set_interleave_weight 1 2"),
    ("hard_offline", {"frame": "k1"}, "offline 1 17"),
    ("pin", {"proc": "A", "pin": "p2", "map": "m1", "len": 2}, "pin 0 0 0 2 1"),
    ("unpin", {"proc": "A", "pin": "p1"}, "unpin 0 0"),
]


@pytest.mark.parametrize(("op", "args", "expected"), REQUESTS)
def test_an_operation_becomes_one_request(names: Names, op: str, args: Args, expected: str) -> None:
    assert translate(names, 5, op, args).line == f"op 5 {expected}"


def test_a_frame_is_that_of_a_page_that_is_somewhere(names: Names) -> None:
    request = translate(names, 1, "note_frame", {"proc": "A", "map": "m1", "page": 1, "frame": "k"})
    request.on_success()
    assert names.frames == {"k1": 17, "k": 9}
    for page in (0, 7):
        where = {"proc": "A", "map": "m1", "page": page, "frame": "k"}
        with pytest.raises(OperationRefusedError, match=f"page {page} of mapping 'm1' is nowhere"):
            translate(names, 1, "note_frame", where)
    with pytest.raises(OperationRefusedError, match=r"'k9' was not looked up .* there are: k1, k"):
        translate(names, 1, "soft_offline", {"frame": "k9"})


def test_every_operation_is_in_the_table_above() -> None:
    assert sorted({op for op, _, _ in REQUESTS}) == operations()


@pytest.mark.parametrize(("op", "args", "expected"), REQUESTS)
def test_an_operation_names_its_missing_and_its_unknown_argument(
    names: Names, op: str, args: Args, expected: str
) -> None:
    with pytest.raises(OperationRefusedError, match=rf"'{op}' has no argument 'colour'"):
        translate(names, 1, op, {**args, "colour": 1})
    with pytest.raises(OperationRefusedError, match=rf"'{op}' lacks"):
        translate(names, 1, op, {})


REFUSED: list[tuple[str, Args, str]] = [
    ("mlock", {}, "operation 'mlock' is unknown; there are: cgroup_attach"),
    ("kill", {"proc": "A"}, "process 'A' has pins (p1) that a kill lets go of late"),
    ("cgroup_mems", {"cgroup": "g1", "nodes": "7"}, "nodes from 0 to 1"),
    ("exit", {"proc": "Z"}, "process 'Z' does not exist; there are: A, B"),
    ("spawn", {"id": "A"}, "process 'A' exists already"),
    ("spawn", {"id": "../A"}, "id is '../A', expected a name"),
    ("spawn", {"id": 7}, "id is 7, expected a name"),
    ("munmap", {"proc": "B", "map": "m1"}, "mapping 'm1' does not exist; there are: none"),
    ("munmap", {"proc": "A", "map": "m1", "start": -1}, "start is -1, expected a number"),
    ("munmap", {"proc": "A", "map": "m1", "start": 2048, "len": 1}, "len is 1, expected"),
    ("mmap", {"proc": "A", "map": "m2", "len": 1, "type": "odd"}, "one of shared, private"),
    ("touch_read", {"proc": "A", "map": "m1", "page": 2048}, "page is 2048, expected"),
    ("touch_read", {"proc": "A", "map": "m1", "page": "0"}, "page is '0', expected"),
    ("mbind", {"proc": "A", "map": "m1", "mode": "bind", "nodes": "2"}, "nodes from 0 to 1"),
    ("migrate_pages", {"proc": "A", "from": 0}, "'migrate_pages' lacks 'from' or 'to'"),
    ("open", {"proc": "A", "fd": "f2", "mount": "h0", "name": ".."}, "name is '..', expected"),
    ("cgroup_set", {"cgroup": "g1", "file": "min", "value": 1}, "one of max, rsvd.max"),
]


@pytest.mark.parametrize(("op", "args", "message"), REFUSED)
def test_a_bad_operation_is_refused_with_its_reason(
    names: Names, op: str, args: Args, message: str
) -> None:
    with pytest.raises(OperationRefusedError) as refused:
        translate(names, 1, op, args)
    assert message in str(refused.value)


def test_success_is_noted_only_when_told(names: Names) -> None:
    process = names.process("A")
    request = translate(names, 1, "mremap", {"proc": "A", "map": "m1", "start": 1, "to": "m2"})
    assert process.lost == {"m1": [False, False, False]}
    request.on_success()
    # Without `len` the rest of the mapping is meant.
    assert process.lost == {"m1": [False, True, True], "m2": [False, False]}


def test_shrinking_in_place_loses_the_pages_after_it(names: Names) -> None:
    process = names.process("A")
    args = {"proc": "A", "map": "m1", "start": 0, "len": 3, "new_len": 1}
    translate(names, 1, "mremap", args).on_success()
    assert process.lost == {"m1": [False, True, True]}
