"""The state of both sides after each operation, put together again from a timeline.

A timeline holds the state at boot and the fields that each operation changed, by their paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.schema.divergence import ABSENT
from models.schema.result import Counterexample, TimelineStep

Flat = dict[str, Any]

_GONE: Final = repr(ABSENT)


@dataclass(frozen=True, slots=True)
class Moment:
    """Both sides after one operation; ``step`` is None for the boot.

    ``whole`` says that the timeline left nothing out so far, so that the states are complete.
    """

    step: TimelineStep | None
    before: Flat
    after: Flat
    whole: bool


def moments(found: Counterexample) -> Iterator[Moment]:
    """The boot, then each operation of the timeline."""
    before = dict(_leaves("", found.initial))
    after = dict(before)
    if found.op_index < 0:
        for change in found.differences:
            _put(after, change.field, change.after)
    whole = True
    yield Moment(None, dict(before), dict(after), whole)
    for step in found.timeline:
        for change in step.changed:
            _put(before, change.field, change.before)
            _put(after, change.field, change.after)
        whole = whole and not step.more
        yield Moment(step, dict(before), dict(after), whole)


def _put(state: Flat, field: str, value: Any) -> None:
    if value == _GONE:
        state.pop(field, None)
    else:
        state[field] = value


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _leaves(f"{path}.{position}", inner)
    else:
        yield path, value
