"""Recordings of a real kernel: files of the format hugetlb-trace/1.

A recording is a trace with what the kernel answered: a head line, one line for each operation with
its result and every counter after it, and a tail line. Sizes, lengths and counters are in huge
pages of 2 MiB. Reading and writing is lossless: what :func:`load` accepted, :func:`dump` writes
byte for byte if it was written without spaces.

Recordings are untrusted input: bounded in size, every field checked, nothing executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from equivalence.subjects.hugetlb.ops import check_op
from models.schema.trace import Args, Op, Scalar, Trace, TraceError

FORMAT: Final = "hugetlb-trace/1"
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_LINE: Final = 1024 * 1024
MAX_LINES: Final = 100_000

Json = dict[str, Any]

#: Stands in a trace for a number that a recording leaves out: no tier lets it reach the kernel.
REFUSED_OP: Final = Op("munmap", {"proc": "-", "map": "-"})


class RecordingError(ValueError):
    """A recording that cannot be read: says the line, what was found and what was expected."""


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.,/-]{1,64}$")]
Number = Annotated[int, Field(ge=-(1 << 64), le=1 << 64)]
Pages = Annotated[list[Annotated[str, Field(max_length=64)] | None], Field(max_length=1 << 16)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Pool(_Strict):
    nr: Number
    free: Number
    resv: Number
    surplus: Number
    overcommit: Number


class _Totals(_Strict):
    nr: Number
    free: Number
    resv: Number
    surplus: Number


class _Node(_Strict):
    nr: Number
    free: Number
    surplus: Number


class _Mount(_Strict):
    f_blocks: Number
    f_bfree: Number
    f_bavail: Number


class _Cgroup(_Strict):
    current: Number
    rsvd_current: Annotated[Number, Field(alias="rsvd.current")]
    max: Number | Literal["max"]
    rsvd_max: Annotated[Number | Literal["max"], Field(alias="rsvd.max")]
    events_max: Number


class _Fd(_Strict):
    size: Number
    blocks: Number
    nlink: Number


class _Process(_Strict):
    maps: dict[Name, Pages]
    fds: dict[Name, _Fd]
    hugetlb_pages: Number


class _State(_Strict):
    pool: _Pool
    nodes: Annotated[list[_Node], Field(max_length=64)]
    mounts: dict[Name, _Mount]
    cgroups: dict[Name, _Cgroup] | None = None
    procs: dict[Name, _Process]


class _Result(_Strict):
    ret: Literal[0, -1]
    errno: Annotated[str, StringConstraints(pattern=r"^E[A-Z0-9]{1,20}$")] | None
    signal: Annotated[str, StringConstraints(pattern=r"^SIG[A-Z0-9]{1,20}$")] | None = None
    si_code: Number | None = None
    value: Number | None = None


class _Line(_State):
    i: Annotated[int, Field(ge=1, le=MAX_LINES)]
    op: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    args: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")],
        Number | Name | Literal[""],
    ]
    result: _Result
    klog: list[str] | None = None


class _World(BaseModel):
    # Later recorders may say more of their world; what boots a model must be there.
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    nr_hugepages: Annotated[int, Field(ge=0, le=1 << 30)]
    nr_overcommit_hugepages: Annotated[int, Field(ge=0, le=1 << 30)]
    nodes: Annotated[int, Field(ge=1, le=4)]
    node_ranges_mb: Annotated[
        list[Annotated[list[int], Field(min_length=2, max_length=2)]], Field(max_length=4)
    ]


class _Head(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    format: Literal["hugetlb-trace/1"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,32}$")]
    about: Annotated[str, Field(max_length=4096)]
    seed: int | None = None
    page_size_kb: Literal[2048]
    world: _World
    initial: _State


class _Tail(_Strict):
    end: Literal[True]
    clean: bool
    busy: Number
    idle: _Totals
    empty: _Totals


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording: its lines as they stand in the file."""

    head: Json
    lines: tuple[Json, ...]
    tail: Json

    @property
    def name(self) -> str:
        """The recording's name."""
        return str(self.head["name"])

    @property
    def profile(self) -> str:
        """What a table groups by: ``scenario``, or the profile of a random trace (its name)."""
        if self.head["kind"] == "scenario":
            return "scenario"
        return self.name.rpartition("_")[2]

    @property
    def world(self) -> Args:
        """The world to boot."""
        world = self.head["world"]
        sizes = [str(end - start) for start, end in world["node_ranges_mb"]]
        node_mb: Scalar = int(sizes[0]) if len(set(sizes)) == 1 else ",".join(sizes)
        return {
            "nodes": world["nodes"],
            "node_mb": node_mb,
            "nr_hugepages": world["nr_hugepages"],
            "nr_overcommit_hugepages": world["nr_overcommit_hugepages"],
        }

    def numbered(self) -> Iterator[tuple[Op, Json | None]]:
        """Each operation in order of its number, with its line; a number left out has no line."""
        number = 0
        for line in self.lines:
            number += 1
            while number < line["i"]:
                yield REFUSED_OP, None
                number += 1
            yield operation(line), line

    def trace(self) -> Trace:
        """World and operations alone, with a comment that names the recording.

        A number that the recording leaves out becomes an operation that every tier refuses, so
        that what a store writes, its operation's number, stays the same.
        """
        comments = (f"recording {self.name}", *filter(None, [str(self.head["about"])]))
        return Trace("hugetlb", self.world, tuple(op for op, _ in self.numbered()), "", comments)


def load(text: str, name: str = "recording", *, trusted: bool = False) -> Recording:
    """Read a recording; ``trusted`` leaves the fields unchecked, for those that are our own.

    Raises:
        RecordingError: another format or version, a malformed field, or larger than the bounds.
    """
    if len(text) > MAX_BYTES:
        msg = f"{name}: {len(text)} bytes, expected at most {MAX_BYTES}"
        raise RecordingError(msg)
    rows = text.split("\n")
    if rows and not rows[-1]:
        rows.pop()
    if not 2 <= len(rows) <= MAX_LINES:
        msg = f"{name}: {len(rows)} lines, expected a head, operations and a tail"
        raise RecordingError(msg)
    parsed = [_parse(row, f"{name}:{number}") for number, row in enumerate(rows, start=1)]
    head, *lines, tail = parsed
    if head.get("format") != FORMAT:
        found = str(head.get("format"))[:40]
        msg = f"{name}:1: the format is {found!r}, expected {FORMAT!r}"
        raise RecordingError(msg)
    if trusted:
        return Recording(head, tuple(lines), tail)
    _check(_Head, head, f"{name}:1")
    number = 0
    for at, line in enumerate(lines, start=2):
        _check(_Line, line, f"{name}:{at}")
        if line["i"] <= number:
            msg = f"{name}:{at}: operation {line['i']} follows {number}, expected rising numbers"
            raise RecordingError(msg)
        number = line["i"]
        try:
            check_op(operation(line))
        except TraceError as error:
            msg = f"{name}:{at}: {error}"
            raise RecordingError(msg) from None
    _check(_Tail, tail, f"{name}:{len(rows)}")
    return Recording(head, tuple(lines), tail)


def _parse(row: str, where: str) -> Json:
    if len(row) > MAX_LINE:
        msg = f"{where}: {len(row)} characters long, expected at most {MAX_LINE}"
        raise RecordingError(msg)
    try:
        value = json.loads(row)
    except (ValueError, RecursionError):
        msg = f"{where}: got {row[:40]!r}, expected one JSON object a line"
        raise RecordingError(msg) from None
    if not isinstance(value, dict):
        msg = f"{where}: got {row[:40]!r}, expected a JSON object"
        raise RecordingError(msg)
    return value


def _check(model: type[BaseModel], line: Json, where: str) -> None:
    try:
        model.model_validate(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or "the line"
        found = repr(first["input"])[:60]
        msg = f"{where}: {path} is {found}: {first['msg'].lower()}"
        raise RecordingError(msg) from None


def dump(recording: Recording) -> str:
    """The text of a recording: one JSON object a line, without spaces."""
    return "".join(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"
        for line in (recording.head, *recording.lines, recording.tail)
    )


#: Arguments that a recording writes as text even where they look like a number.
_TEXT_ARGS: Final = frozenset({"nodes"})
_COMMENT: Final = re.compile(r"recording ([A-Za-z0-9_.-]{1,128})")


def operation(line: Json) -> Op:
    """The operation of a line; traces have no empty words and write "-" for no nodes."""
    args = line["args"]
    if "" in args.values():
        args = {key: "-" if value == "" else value for key, value in args.items()}
    return Op(line["op"], dict(args))


def recorded_args(op: Op) -> Json:
    """An operation's arguments as a recording writes them."""
    args = {key: str(value) if key in _TEXT_ARGS else value for key, value in op.args.items()}
    if args.get("nodes") == "-":
        args["nodes"] = ""
    return args


def from_answers(
    trace: Trace, head: Json, answers: Sequence[tuple[Json, Json] | None], tail: Json
) -> Recording:
    """Make a recording of a trace: for each operation its result and the state after it.

    ``answers`` has None for an operation that was refused: the recording leaves its number out.
    """
    lines = [
        {"i": number, "op": op.kind, "args": recorded_args(op), "result": answer[0], **answer[1]}
        for number, (op, answer) in enumerate(zip(trace.ops, answers, strict=True), start=1)
        if answer is not None
    ]
    return Recording(head, tuple(lines), tail)


def recorded_name(trace: Trace) -> str | None:
    """The recording that a trace was made from, by its comment, or None."""
    for comment in trace.comments:
        match = _COMMENT.fullmatch(comment)
        if match:
            return match[1]
    return None


def recorded_world(world: Args) -> Json:
    """A world as a recording's head writes it."""
    nodes = int(world.get("nodes", 2))
    sizes = [int(size) for size in str(world.get("node_mb", 512)).split(",")]
    ranges, start = [], 0
    for node in range(nodes):
        end = start + sizes[min(node, len(sizes) - 1)]
        ranges.append([start, end])
        start = end
    return {
        "nr_hugepages": int(world.get("nr_hugepages", 0)),
        "nr_overcommit_hugepages": int(world.get("nr_overcommit_hugepages", 0)),
        "nodes": nodes,
        "node_ranges_mb": ranges,
        "init_and_worker_cpu": 0,
        "cpu0_node": 0,
        "next_nid_to_alloc_before_nr": 0,
        "next_nid_to_free_before_nr": 0,
    }


def recorded_result(
    ret: int, errno: str | None, signal: str | None, si_code: int | None, value: int | None
) -> Json:
    """A result as an operation line writes it: fields that do not apply are left out."""
    result: Json = {"ret": ret, "errno": errno}
    if signal is not None:
        result["signal"] = signal
        result["si_code"] = si_code
    if value is not None:
        result["value"] = value
    return result


def by_name(recordings: Iterable[Recording]) -> Mapping[str, Recording]:
    """Recordings by their names.

    Raises:
        RecordingError: two have the same name.
    """
    found: dict[str, Recording] = {}
    for recording in recordings:
        if recording.name in found:
            msg = f"two recordings are named {recording.name!r}; leave one out"
            raise RecordingError(msg)
        found[recording.name] = recording
    return found
