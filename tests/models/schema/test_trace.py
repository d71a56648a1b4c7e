import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.schema import trace as module
from models.schema.outcome import OK, REFUSED, Outcome
from models.schema.trace import (
    MAX_LINE,
    Op,
    Trace,
    TraceError,
    format_trace,
    parse_line,
    parse_trace,
)

TEXT = """\
equivcheck-trace/1 toy
# found by the sampler
world nodes=2 pages=-3
schedule choices=0,1

spawn id=A
umount
"""


def test_a_trace_is_read_and_written_unchanged() -> None:
    trace = parse_trace(TEXT)
    assert trace == Trace(
        "toy",
        {"nodes": 2, "pages": -3},
        (Op("spawn", {"id": "A"}), Op("umount")),
        "0,1",
    )
    assert trace.comments == ("found by the sampler",)
    assert format_trace(trace) == TEXT.replace("\n\n", "\n")


NAMES = st.from_regex(r"[A-Za-z_.,/-][A-Za-z0-9_.,/-]{0,20}", fullmatch=True).filter(
    lambda name: not name.lstrip("-").isdecimal()
)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
SCALARS = st.one_of(NAMES, st.integers(-(2**64) + 1, 2**64 - 1))
ARGS = st.dictionaries(KEYS, SCALARS, max_size=4)
KINDS = KEYS.filter(lambda kind: kind not in ("world", "schedule"))


@given(ARGS, st.lists(st.builds(Op, KINDS, ARGS), max_size=4))
def test_every_trace_survives_its_text(world: dict[str, int | str], ops: list[Op]) -> None:
    trace = Trace("toy", world, tuple(ops))
    assert parse_trace(format_trace(trace)) == trace


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f: first line is '', expected 'equivcheck-trace/1 SUBJECT'"),
        ("equivcheck-trace/2 toy\n", "f: first line is 'equivcheck-trace/2 toy', expected"),
        ("equivcheck-trace/1 T-1\n", "f: the first line names the subject 'T-1', expected a word"),
        ("equivcheck-trace/1 toy\ngive who=A\n", "f: no 'world' line, expected one such as"),
        (
            "equivcheck-trace/1 toy\nworld n=1\nworld n=1\n",
            "f:3: a trace has one 'world' line, before the operations",
        ),
        (
            "equivcheck-trace/1 toy\ngive who=A\nworld n=1\n",
            "f:3: a trace has one 'world' line, before the operations",
        ),
        ("equivcheck-trace/1 toy\nworld n\n", "f:2: got 'n', expected key=value"),
        ("equivcheck-trace/1 toy\nworld N=1\n", "f:2: got 'N=1', expected key=value"),
        ("equivcheck-trace/1 toy\nworld n=1 n=2\n", "f:2: 'n' is given twice"),
        ("equivcheck-trace/1 toy\nworld n=$(id)\n", "f:2: n: got '$(id)', expected an integer or"),
        (
            f"equivcheck-trace/1 toy\nworld n={1 << 64}\n",
            f"f:2: n: got {1 << 64}, expected an integer of at most 64 bits",
        ),
        ("equivcheck-trace/1 toy\nRM -rf\n", "f:2: got 'RM', expected an operation name"),
    ],
)
def test_what_is_not_a_trace_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse_trace(text, "f")
    assert str(caught.value).startswith(message)


def test_a_trace_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError, match=f"characters long, expected at most {MAX_LINE}"):
        parse_line("x" * (MAX_LINE + 1))
    monkeypatch.setattr(module, "MAX_OPS", 2)
    with pytest.raises(TraceError, match="trace:5: more than 2 operations"):
        parse_trace("equivcheck-trace/1 toy\nworld n=1\nnop\nnop\nnop\n")
    monkeypatch.setattr(module, "MAX_TRACE_BYTES", 10)
    with pytest.raises(TraceError, match="trace: 40 bytes, expected at most 10"):
        parse_trace("x" * 40)


def test_a_system_goes_on_after_what_returned_or_was_refused() -> None:
    assert not OK.fatal
    assert not REFUSED.fatal
    assert Outcome(ending="bug").fatal
