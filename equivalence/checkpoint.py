"""An exploration on disk, to be gone on with: JSON that is validated, never a pickle.

A checkpoint holds the graph, not states: going on replays traces. It fits one series, pair, world,
relation and code: the header says which, and some of its states are reached again and compared, so
that it is never gone on with after the code has changed under it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from equivalence.explorer import TOKEN_BYTES, Exploration
from equivalence.search import Side
from equivalence.store import write_atomically
from models.schema.trace import TraceError, format_trace, parse_trace

SCHEMA: Final = "equivcheck/checkpoint/1"
#: Larger files are refused before they are parsed.
MAX_BYTES: Final = 256 * 1024 * 1024

Count = Annotated[int, Field(ge=0)]
Token = Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * TOKEN_BYTES}}}$")]


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: the message names the file, got what, expected what."""


class SideText(BaseModel):
    """What the code of one side reached."""

    covered: dict[str, list[str]]
    rows: dict[str, list[tuple[list[int | str], int]]]


class Checkpoint(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    schema_: Literal["equivcheck/checkpoint/1"] = Field(SCHEMA, alias="schema")
    relation: str
    steps: tuple[Count, Count]
    world: str
    ops: list[str]
    parents: list[int]
    by: list[Count]
    tokens: list[Token]
    levels: list[Count]
    expanded: Count
    transitions: Count
    ends: Count
    goals: list[str]
    outcomes: list[tuple[str, str, Count]]
    defects: dict[str, tuple[str, str]]
    before: SideText
    after: SideText
    reached: list[tuple[str, list[int | str], str]]

    @model_validator(mode="after")
    def _is_a_graph(self) -> Checkpoint:
        size = len(self.tokens)
        if not len(self.parents) == len(self.by) == size or len(set(self.tokens)) != size:
            msg = "parents, by and tokens must have the same length, and tokens no repetition"
            raise ValueError(msg)
        if any(not 0 <= parent < max(1, k) for k, parent in enumerate(self.parents)):
            msg = "a parent must come before its child"
            raise ValueError(msg)
        if any(op >= max(1, len(self.ops)) for op in self.by):
            msg = "an operation is beyond the list"
            raise ValueError(msg)
        if self.expanded > size or any(level >= size for level in self.levels):
            msg = "more states are expanded than there are"
            raise ValueError(msg)
        return self


def save_checkpoint(
    path: Path | None, found: Exploration, relation: str, steps: tuple[int, int]
) -> None:
    """Write an exploration; None: nowhere.

    Raises:
        CheckpointError: the file cannot be written.
    """
    if path is None:
        return
    findings = found.findings
    data = Checkpoint(
        schema=SCHEMA,
        relation=relation,
        steps=steps,
        world=_world_text(found),
        ops=[str(op) for op in found.small.ops],
        parents=list(found.parents),
        by=list(found.ops),
        tokens=[token.hex() for token in found.tokens],
        levels=found.levels,
        expanded=found.expanded,
        transitions=found.transitions,
        ends=found.ends,
        goals=sorted(findings.goals),
        outcomes=[(kind, how, n) for (kind, how), n in sorted(findings.outcomes.items())],
        defects={k: (text, format_trace(trace)) for k, (text, trace) in findings.defects.items()},
        before=_side_text(findings.before),
        after=_side_text(findings.after),
        reached=[(name, list(row), format_trace(t)) for (name, row), t in found.reached.items()],
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.model_dump_json(by_alias=True) + "\n")
    except OSError as error:
        msg = f"checkpoint {path}: cannot be written ({error.strerror or error})"
        raise CheckpointError(msg) from error


def load_checkpoint(path: Path, found: Exploration, relation: str, steps: tuple[int, int]) -> None:
    """Fill a fresh exploration of the same pair, world and relation.

    Raises:
        CheckpointError: it cannot be read, is malformed, or is of something else.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            msg = f"checkpoint {path}: larger than {MAX_BYTES} bytes"
            raise CheckpointError(msg)
        data = Checkpoint.model_validate_json(path.read_bytes())
        defects = {k: (text, parse_trace(t)) for k, (text, t) in data.defects.items()}
        reached = {(name, tuple(row)): parse_trace(t) for name, row, t in data.reached}
    except OSError as error:
        msg = f"checkpoint {path}: cannot be read ({error.strerror or error})"
        raise CheckpointError(msg) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        msg = f"checkpoint {path}: {place}: {first['msg']}; remove it to start anew"
        raise CheckpointError(msg) from None
    except TraceError as error:
        msg = f"checkpoint {path}: {error}; remove it to start anew"
        raise CheckpointError(msg) from None
    ours = (relation, steps, _world_text(found), [str(op) for op in found.small.ops])
    if (data.relation, data.steps, data.world, data.ops) != ours:
        msg = f"checkpoint {path}: of another pair, world or relation; remove it to start anew"
        raise CheckpointError(msg)
    found.parents, found.ops = array("l", data.parents), array("H", data.by)
    found.tokens = dict.fromkeys(bytes.fromhex(text) for text in data.tokens)
    found.levels, found.expanded = data.levels, data.expanded
    found.transitions, found.ends = data.transitions, data.ends
    found.reached = reached
    findings = found.findings
    findings.ops = data.transitions
    findings.goals = set(data.goals)
    findings.outcomes = Counter({(kind, how): n for kind, how, n in data.outcomes})
    findings.defects = defects
    findings.before, findings.after = _side(data.before), _side(data.after)


def _world_text(found: Exploration) -> str:
    small = found.small
    return "; ".join(map(str, (small.name, *sorted(small.world.items()), *small.start)))


def _side_text(side: Side) -> SideText:
    return SideText(
        covered={name: sorted(points) for name, points in side.covered.items()},
        rows={
            name: [(list(inputs), n) for inputs, n in rows.items()]
            for name, rows in side.rows.items()
        },
    )


def _side(text: SideText) -> Side:
    return Side(
        {name: frozenset(points) for name, points in text.covered.items()},
        {
            name: Counter({tuple(inputs): n for inputs, n in rows})
            for name, rows in text.rows.items()
        },
    )
