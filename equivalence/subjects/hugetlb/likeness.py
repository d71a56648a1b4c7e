"""Draws worlds and operations like those of the recordings of one profile.

The next operation is one that a recording of the profile has after an operation of the same kind as
the last one: its kind, its arguments and the values that are no names are the recorded ones, so
that what occurs together there occurs together here. Names are those in play, and pages are moved
into the mapping that is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final

from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.recording import Recording
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op, Scalar

#: Arguments that are drawn anew, because they name what is in play or are places in it.
_IN_PLAY: Final = frozenset(
    {
        *("id", "child", "proc", "target", "map", "to", "fd", "mount", "cgroup", "shm", "pin"),
        *("start", "page"),
    }
)
#: What the recorded value of ``len`` may not reach beyond: the mapping's end.
_WITHIN: Final = frozenset({"munmap", "mprotect", "madvise", "mbind", "mremap", "uffd_copy"})


def by_profile(recordings: Iterable[Recording]) -> Mapping[str, tuple[Recording, ...]]:
    """Recordings by their profiles, in order of the profiles' names."""
    found: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        found[recording.profile].append(recording)
    return {profile: tuple(found[profile]) for profile in sorted(found)}


class LikeRecordings(HugetlbGenerator):
    """Draws like recordings, which are all of one profile."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        super().__init__()
        self._recordings = recordings
        #: Kind -> what recordings have next; "" for how they begin.
        self._next: dict[str, list[Op]] = defaultdict(list)
        for recording in recordings:
            last = ""
            for op, line in recording.numbered():
                if line is not None:
                    self._next[last].append(op)
                    last = op.kind
        self._every = [op for ops in self._next.values() for op in ops]
        self._after = ""

    def world(self, rng: Random) -> Args:
        """The world of one of the recordings."""
        return self._recordings[int(rng.random() * len(self._recordings))].world

    def length(self, rng: Random) -> int:
        """How many operations one of the recordings has."""
        return len(self._recordings[int(rng.random() * len(self._recordings))].lines)

    def start(self, world: Args) -> None:
        """Begin anew."""
        super().start(world)
        self._after = ""

    def op(self, rng: Random, kind: str | None = None) -> Op:
        """The next operation, of the given kind if one is given (and then like the generator's)."""
        if kind is not None:
            return super().op(rng, kind)
        self._random = rng.random
        self._lone = False
        found = self._next.get(self._after) or self._every
        like = self._pick(found)
        # A mapping of a file needs one, as other operations on files do.
        on_file = like.kind == "mmap" and "fd" in like.args
        possible = self._possible("fallocate" if on_file else like.kind)
        if possible == "fallocate" and on_file:
            possible = "mmap"
        if possible != like.kind:
            like = self._pick([op for op in self._every if op.kind == possible] or [like])
        return self._bound(like)

    def saw(self, op: Op, outcome: Outcome) -> None:
        """Also remember the kind, for what comes next."""
        super().saw(op, outcome)
        self._after = op.kind

    def _bound(self, like: Op) -> Op:
        """The operation with names that are in play."""
        drawn = self._draws[like.kind]()
        if "fd" in like.args and "fd" not in drawn:
            drawn["proc"], drawn["fd"] = self._file()
        args: dict[str, Scalar] = {}
        for key, value in like.args.items():
            args[key] = drawn.get(key, value) if key in _IN_PLAY else value
        if like.kind in _WITHIN and "start" in drawn and "len" in drawn:
            if "start" in like.args:
                args["start"] = drawn["start"]
            if "len" in like.args:
                args["len"] = drawn["len"]
        return Op(like.kind, args)
