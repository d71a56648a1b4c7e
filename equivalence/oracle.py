"""Decides whether two outcomes, two states and two lists of effects agree.

A relation says how much must agree:

- ``user``: outcomes, and the sections that user space can read;
- ``state``: outcomes, and every section that both sides have (the default);
- ``effects``: ``state``, and the ordered calls into the environment.

Outcomes are compared in all their fields under every relation: errno and signals reach the program,
warnings and BUGs the kernel log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from equivalence.subject import Excluded, Observation, Relation, System
from models.schema.divergence import ABSENT, Difference, Path
from models.schema.outcome import Outcome

#: A BUG or a signal says more than that the call failed.
_TELLING: Final = ("ending", "signal", "ret", "errno", "si_code", "value", "detail", "warnings")

#: How many differing fields of one operation are kept.
MAX_DIFFERENCES: Final = 64


@dataclass(frozen=True, slots=True)
class Oracle:
    """How much must agree between two systems.

    ``sections`` are compared. ``by_digest`` says that both sides have the same sections, so that
    their digests can be compared in place of the sections.
    """

    relation: Relation
    sections: frozenset[str]
    by_digest: bool
    not_compared: tuple[Excluded, ...]

    @property
    def effects(self) -> bool:
        """Whether the calls into the environment are compared."""
        return self.relation == "effects"


def oracle_for(
    before: System,
    after: System,
    relation: Relation,
    user_sections: frozenset[str],
    excluded: Sequence[Excluded] = (),
) -> Oracle:
    """The oracle for two systems; what it will not compare is listed with the reason."""
    common = before.sections & after.sections
    compared = common & user_sections if relation == "user" else common
    left_out = [
        Excluded(name, "*", "only one side has this section")
        for name in sorted(before.sections ^ after.sections)
    ]
    left_out += [
        Excluded(name, "*", "user space cannot read it, and the relation is 'user'")
        for name in sorted(common - compared)
    ]
    if relation != "effects":
        reason = f"the relation is {relation!r}"
        left_out.append(Excluded("effects", "calls into the environment", reason))
    # What neither side has at all is left out too, and said.
    unseen = (before.sections | after.sections) - compared
    left_out += [item for item in excluded if item.section not in unseen]
    return Oracle(relation, compared, before.sections == after.sections, tuple(left_out))


def outcome_differences(before: Outcome, after: Outcome) -> Iterator[Difference]:
    """The fields in which two outcomes differ, the most telling first."""
    for name in _TELLING:
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            yield Difference(("outcome", name), one, other)


def state_differences(
    before: Observation, after: Observation, sections: frozenset[str]
) -> Iterator[Difference]:
    """The fields in which two observations differ, in the order in which they are shown."""
    for name in [*before, *(name for name in after if name not in before)]:
        if name in sections:
            yield from _differences((name,), before.get(name, ABSENT), after.get(name, ABSENT))


def effect_differences(before: Sequence[str], after: Sequence[str]) -> Iterator[Difference]:
    """The calls into the environment that differ, by position."""
    return _differences(("effects",), before, after)


def bounded(differences: Iterator[Difference]) -> tuple[Difference, ...]:
    """The first differences, at most :data:`MAX_DIFFERENCES`."""
    return tuple(islice(differences, MAX_DIFFERENCES))


def _differences(path: Path, before: Any, after: Any) -> Iterator[Difference]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences((*path, key), before.get(key, ABSENT), after.get(key, ABSENT))
    elif isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        for position in range(max(len(before), len(after))):
            one = before[position] if position < len(before) else ABSENT
            other = after[position] if position < len(after) else ABSENT
            yield from _differences((*path, position), one, other)
    else:
        yield Difference(path, before, after)
