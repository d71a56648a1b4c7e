"""Operations and traces, and the one text format in which they are written.

A trace file reads::

    equivcheck-trace/1 hugetlb
    # any comment
    world nodes=2 nr_hugepages=4
    spawn id=A
    mmap proc=A map=m1 type=private len=2

The first line names the format version and the subject, the ``world`` line the initial
configuration, every further line one operation as ``kind key=value ...``. A value that is a
decimal integer is an integer, any other value is a name. Names consist of letters, digits and
``_ . , / -`` (see :data:`NAME`), so no quoting exists and nothing in a trace is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

Scalar = int | str
Args = Mapping[str, Scalar]

FORMAT: Final = "equivcheck-trace/1"
MAX_TRACE_BYTES: Final = 8 * 1024 * 1024
MAX_OPS: Final = 100_000
MAX_LINE: Final = 4096
INT_BOUND: Final = 1 << 64

NAME: Final = re.compile(r"[A-Za-z0-9_.,/-]{1,64}")
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_INT: Final = re.compile(r"-?[0-9]{1,20}")


class TraceError(ValueError):
    """A trace that cannot be read: the message names the line, got what, expected what."""


class Op(NamedTuple):
    """One operation: its kind and its arguments (sizes, lengths and offsets in huge pages)."""

    kind: str
    args: Args = {}  # noqa: RUF012 -- never written to; a proxy could not be sent between processes

    def __str__(self) -> str:
        return format_line(self.kind, self.args)


@dataclass(frozen=True, slots=True)
class Trace:
    """A world and a list of operations.

    ``schedule`` holds the choices made at lock boundaries where more than one task ran
    (empty: one task). ``comments`` are kept so that a saved trace explains itself.
    """

    subject: str
    world: Args
    ops: tuple[Op, ...] = ()
    schedule: str = ""
    comments: tuple[str, ...] = field(default=(), compare=False)

    def with_ops(self, ops: Iterable[Op]) -> Trace:
        """The same world with other operations."""
        return Trace(self.subject, self.world, tuple(ops), self.schedule, self.comments)

    def with_world(self, world: Args) -> Trace:
        """The same operations in another world."""
        return Trace(self.subject, dict(world), self.ops, self.schedule, self.comments)


def format_line(kind: str, args: Args) -> str:
    """One line of the text format."""
    return " ".join([kind, *(f"{key}={value}" for key, value in args.items())])


def parse_line(line: str, where: str = "line") -> Op:
    """Read one line of the text format.

    Raises:
        TraceError: the line is not ``kind key=value ...``.
    """
    if len(line) > MAX_LINE:
        msg = f"{where}: {len(line)} characters long, expected at most {MAX_LINE}"
        raise TraceError(msg)
    kind, *words = line.split()
    if not _KEY.fullmatch(kind):
        msg = f"{where}: got {kind[:40]!r}, expected an operation name such as 'mmap'"
        raise TraceError(msg)
    args: dict[str, Scalar] = {}
    for word in words:
        key, sep, value = word.partition("=")
        if not sep or not _KEY.fullmatch(key):
            msg = f"{where}: got {word[:40]!r}, expected key=value"
            raise TraceError(msg)
        if key in args:
            msg = f"{where}: {key!r} is given twice"
            raise TraceError(msg)
        args[key] = parse_scalar(value, f"{where}: {key}")
    return Op(kind, args)


def parse_scalar(value: str, where: str) -> Scalar:
    """A decimal integer becomes an integer, any other word stays a name.

    Raises:
        TraceError: neither a 64-bit integer nor a name.
    """
    if _INT.fullmatch(value):
        number = int(value)
        if -INT_BOUND < number < INT_BOUND:
            return number
        msg = f"{where}: got {value}, expected an integer of at most 64 bits"
        raise TraceError(msg)
    if not NAME.fullmatch(value):
        expected = "an integer or a name of letters, digits, _ . , / -"
        msg = f"{where}: got {value[:40]!r}, expected {expected}"
        raise TraceError(msg)
    return value


def format_trace(trace: Trace) -> str:
    """The text of a trace; :func:`parse_trace` reads it back unchanged."""
    lines = [f"{FORMAT} {trace.subject}"]
    lines += [f"# {' '.join(comment.split())}" for comment in trace.comments]
    lines.append(format_line("world", trace.world))
    if trace.schedule:
        lines.append(f"schedule choices={trace.schedule}")
    lines += [str(op) for op in trace.ops]
    return "\n".join(lines) + "\n"


def parse_trace(text: str, name: str = "trace") -> Trace:
    """Read a trace from its text.

    Raises:
        TraceError: another format or version, malformed lines, or larger than the bounds.
    """
    if len(text) > MAX_TRACE_BYTES:
        msg = f"{name}: {len(text)} bytes, expected at most {MAX_TRACE_BYTES}"
        raise TraceError(msg)
    lines = text.split("\n")
    head = lines[0].split()
    if len(head) != 2 or head[0] != FORMAT:
        msg = f"{name}: first line is {lines[0][:60]!r}, expected '{FORMAT} SUBJECT'"
        raise TraceError(msg)
    if not _KEY.fullmatch(head[1]):
        got = f"the first line names the subject {head[1][:40]!r}"
        msg = f"{name}: {got}, expected a word such as 'hugetlb'"
        raise TraceError(msg)
    world: Args | None = None
    schedule = ""
    comments: list[str] = []
    ops: list[Op] = []
    for number, raw in enumerate(lines[1:], start=2):
        line = raw.strip()
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line:
            op = parse_line(line, f"{name}:{number}")
            if op.kind == "world":
                if world is not None or ops:
                    msg = f"{name}:{number}: a trace has one 'world' line, before the operations"
                    raise TraceError(msg)
                world = op.args
            elif op.kind == "schedule":
                schedule = str(op.args.get("choices", ""))
            else:
                ops.append(op)
                if len(ops) > MAX_OPS:
                    msg = f"{name}:{number}: more than {MAX_OPS} operations"
                    raise TraceError(msg)
    if world is None:
        msg = f"{name}: no 'world' line, expected one such as 'world nodes=2 nr_hugepages=4'"
        raise TraceError(msg)
    return Trace(head[1], world, tuple(ops), schedule, tuple(comments))
