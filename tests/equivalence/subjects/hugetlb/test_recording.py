"""Recordings: read and written without loss, and refused with one clear message."""

from __future__ import annotations

import copy
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from equivalence.subjects.hugetlb import recording as module
from equivalence.subjects.hugetlb.corpus import corpus, read, unpack
from equivalence.subjects.hugetlb.recording import (
    REFUSED_OP,
    Json,
    Recording,
    RecordingError,
    by_name,
    dump,
    from_answers,
    load,
    recorded_name,
    recorded_result,
    recorded_world,
)
from models.schema.trace import Op, format_trace, parse_trace

NOT_STATE = ("i", "op", "args", "result")


@pytest.fixture(scope="module")
def recordings() -> dict[str, Recording]:
    return dict(by_name(corpus()))


@pytest.fixture
def numa(recordings: dict[str, Recording]) -> Recording:
    return copy.deepcopy(recordings["s48_mempolicy_preferred_interleave"])


def test_the_corpus_is_whole(recordings: dict[str, Recording]) -> None:
    assert len(recordings) == 467
    assert sum(len(recording.lines) for recording in recordings.values()) == 15881
    profiles = {recording.profile for recording in recordings.values()}
    assert profiles == {"scenario", "anon", "files", "subpool", "numa", "cgroup", "mixed"}
    assert sum(recording.profile == "scenario" for recording in recordings.values()) == 107


def test_reading_and_writing_loses_nothing(recordings: dict[str, Recording]) -> None:
    for recording in recordings.values():
        assert load(dump(recording)) == recording


def test_a_recording_becomes_a_trace_and_its_text_and_comes_back(
    recordings: dict[str, Recording],
) -> None:
    for recording in recordings.values():
        trace = parse_trace(format_trace(recording.trace()))
        assert recorded_name(trace) == recording.name
        answers: list[tuple[Json, Json] | None] = [
            None
            if line is None
            else (line["result"], {key: line[key] for key in line if key not in NOT_STATE})
            for _, line in recording.numbered()
        ]
        again = from_answers(trace, recording.head, answers, recording.tail)
        assert dump(again) == dump(recording)
        assert recorded_world(trace.world) == recording.head["world"]


def test_a_number_left_out_keeps_its_place(numa: Recording) -> None:
    lines = [line for line in numa.lines if line["i"] != 2]
    gap = Recording(numa.head, tuple(lines), numa.tail)
    ops = gap.trace().ops
    assert (len(ops), ops[1]) == (len(numa.lines), REFUSED_OP)
    numbered = list(gap.numbered())
    assert numbered[1] == (REFUSED_OP, None)
    assert numbered[2][1] == numa.lines[2]
    answers: list[tuple[Json, Json] | None] = [
        None if line is None else (line["result"], {}) for _, line in numbered
    ]
    written = from_answers(gap.trace(), gap.head, answers, gap.tail)
    assert [line["i"] for line in written.lines] == [line["i"] for line in lines]


def test_node_lists_are_written_as_text(numa: Recording) -> None:
    trace = numa.trace().with_ops([Op("set_mempolicy", {"proc": "A", "mode": "bind", "nodes": 1})])
    written = from_answers(trace, numa.head, [(recorded_result(0, None, None, None, None), {})], {})
    assert written.lines[0]["args"]["nodes"] == "1"


def test_nodes_of_different_sizes_are_told_apart(numa: Recording) -> None:
    numa.head["world"]["node_ranges_mb"] = [[0, 512], [512, 1536]]
    assert numa.world["node_mb"] == "512,1024"
    assert recorded_world(numa.world)["node_ranges_mb"] == [[0, 512], [512, 1536]]


def broken(recording: Recording, where: int, path: str, value: Any) -> str:
    """The text of the recording with one value replaced; ``...`` deletes it."""
    rows = [json.loads(row) for row in dump(recording).splitlines()]
    at = rows[where]
    *parents, last = path.split("/")
    for key in parents:
        at = at[int(key) if isinstance(at, list) else key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("where", "path", "value", "said"),
    [
        (0, "format", "hugetlb-trace/2", "rec:1: the format is 'hugetlb-trace/2', expected"),
        (0, "name", "../../etc/passwd", "rec:1: name is '../../etc/passwd'"),
        (0, "world/nodes", 5, "rec:1: world.nodes is 5"),
        (0, "world/nr_hugepages", -1, "rec:1: world.nr_hugepages is -1"),
        (0, "page_size_kb", 4, "rec:1: page_size_kb is 4"),
        (2, "i", 1, "rec:3: operation 1 follows 1, expected rising numbers"),
        (2, "i", "2", "rec:3: i is '2'"),
        (2, "op", "rm -rf", "rec:3: op is 'rm -rf'"),
        (2, "args/proc", "$(x)", "rec:3: args.proc"),
        (2, "args", [1], "rec:3: args is [1]"),
        (2, "args", {}, "rec:3: mmap: argument 'len' is missing"),
        (2, "op", "reboot", "rec:3: operation 'reboot' is unknown"),
        (2, "result/ret", 7, "rec:3: result.ret is 7"),
        (2, "result/errno", 12, "rec:3: result.errno is 12"),
        (2, "pool/free", 1.5, "rec:3: pool.free is 1.5"),
        (2, "pool/free", True, "rec:3: pool.free is True"),
        (2, "pool/resv", ..., "rec:3: pool.resv"),
        (2, "more", 1, "rec:3: more is 1"),
        (2, "nodes/0/nr", None, "rec:3: nodes.0.nr is None"),
        (-1, "clean", "yes", "clean is 'yes'"),
        (-1, "end", False, "end is False"),
    ],
)
def test_a_malformed_field_is_named(
    numa: Recording, where: int, path: str, value: Any, said: str
) -> None:
    with pytest.raises(RecordingError) as caught:
        load(broken(numa, where, path, value), "rec")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rec: 0 lines, expected a head, operations and a tail"),
        ("{}\n", "rec: 1 lines"),
        ("[]\n{}\n", "rec:1: got '[]', expected a JSON object"),
        ("{}\n{\n", "rec:2: got '{', expected one JSON object a line"),
        ("{}\n{}\n", "rec:1: the format is 'None', expected 'hugetlb-trace/1'"),
        ("{}\n" + "[" * 100_000 + "\n", "expected one JSON object a line"),
        ("{}\n" + "9" * 5000 + "\n", "rec:2: got"),
    ],
)
def test_what_is_no_recording_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecordingError, match="rec") as caught:
        load(text, "rec")
    assert said in str(caught.value)


def test_recordings_are_bounded(numa: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    text = dump(numa)
    for bound, said in (("MAX_BYTES", "bytes"), ("MAX_LINE", "characters"), ("MAX_LINES", "lines")):
        with monkeypatch.context() as patch:
            patch.setattr(module, bound, 2)
            with pytest.raises(RecordingError, match=said):
                load(text, "rec")


def test_two_recordings_of_one_name_are_refused(numa: Recording) -> None:
    with pytest.raises(RecordingError, match="two recordings are named"):
        by_name([numa, numa])


def archive(members: dict[str, bytes], mode: str = "w:xz") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_files_folders_and_archives_are_read(numa: Recording, tmp_path: Path) -> None:
    text = dump(numa)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.tar.xz").write_bytes(archive({"x/c.jsonl": text.encode(), "README": b"\xff"}))
    (tmp_path / "notes.txt").write_text("no recording")
    assert read([tmp_path]) == [numa, numa]
    assert read([tmp_path / "b.tar.xz", tmp_path / "a.jsonl"]) == [numa, numa]


def test_what_cannot_be_read_is_named(numa: Recording, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.tar.xz").write_bytes(b"not an archive")
    (tmp_path / "none.tar.xz").write_bytes(archive({"README": b"x"}))
    (tmp_path / "cut.tar.xz").write_bytes(archive({"a.jsonl": dump(numa).encode()})[:-40])
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    cases = {
        "empty": "no recording in this folder",
        "bad.tar.xz": "not an archive of recordings",
        "none.tar.xz": "no recording in this archive",
        "cut.tar.xz": "not an archive of recordings",
        "binary.jsonl": "not UTF-8",
        "missing.jsonl": "cannot be read",
    }
    for name, said in cases.items():
        with pytest.raises(RecordingError, match=said) as caught:
            read([tmp_path / name])
        assert name in str(caught.value)


def test_an_archive_is_bounded_when_unpacked(
    numa: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = archive({"a.jsonl": dump(numa).encode()})
    package = "equivalence.subjects.hugetlb.corpus"
    with monkeypatch.context() as patch:
        patch.setattr(f"{package}.MAX_ARCHIVE_BYTES", 1000)
        with pytest.raises(RecordingError, match="unpacks to more than 1000 bytes"):
            list(unpack(data, "bomb"))
    with monkeypatch.context() as patch:
        patch.setattr(f"{package}.MAX_MEMBERS", 0)
        with pytest.raises(RecordingError, match="more than 0 members"):
            list(unpack(data, "bomb"))
