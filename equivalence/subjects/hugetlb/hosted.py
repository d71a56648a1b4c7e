"""HugeTLB as a subject for the tier ``native``: what the C in user space can run and show.

Operations and worlds are those of :mod:`equivalence.subjects.hugetlb.subject` as far as the tier
has them; what it lacks is listed among what is not compared. Invariants read the tier's sections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from equivalence.backends.native.encode import lacks
from equivalence.backends.native.system import USER_SECTIONS, hosted_world, world_of
from equivalence.subject import Excluded, Invariant, Observation, OpSpec
from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.examples import rare, written
from equivalence.subjects.hugetlb.generator import HugetlbGenerator
from equivalence.subjects.hugetlb.ops import OPS
from equivalence.subjects.hugetlb.subject import WORLDS, HugetlbSubject
from models.schema.trace import Args, Op, Scalar, Trace, TraceError, parse_trace

Json = Mapping[str, Any]

_UNSEEN: Final = (
    ("memory cgroups", "*", "the hosted configuration has no memory controller"),
    ("cpusets", "*", "the hosted configuration has no cpuset controller"),
    ("folios", "contents behind the first word", "only the first word of a huge page is kept"),
    ("page_tables", "young", "the processor sets it, and nothing on these paths reads it"),
    ("inodes", "timestamps", "time is not modelled"),
)


#: Of the worlds that would have 1 GiB pages: a quarter of a million pages to make one of.
_GIANT_SHARE: Final = 0.25

#: Reserved pages are on a node that the policy excludes: a surplus page takes a reservation.
_ELSEWHERE: Final = """equivcheck-trace/1 hugetlb
world nodes=2 nr_hugepages=2 nr_overcommit_hugepages=2
spawn id=A
mmap proc=A map=m1 type=private len=2
mbind proc=A map=m1 mode=bind nodes=0
touch_write proc=A map=m1 page=0
touch_write proc=A map=m1 page=1
mmap proc=A map=m2 type=shared len=1
mbind proc=A map=m2 mode=bind nodes=0
touch_write proc=A map=m2 page=0
munmap proc=A map=m1
exit proc=A
"""


def reserved_within_free(observation: Observation) -> str | None:
    """resv <= free, in huge pages, for each hstate."""
    for name, pool in observation["counters"].items():
        if pool["resv"] > pool["free"]:
            return f"{name}: resv_huge_pages {pool['resv']} > free_huge_pages {pool['free']}"
    return None


def pages_add_up(observation: Observation) -> str | None:
    """nr, free and surplus are the sums over the nodes and the lengths of the lists."""
    pools = observation["counters"].items()
    rows = zip(pools, observation["nodes"], observation["lists"], strict=True)
    for (name, pool), row, lists in rows:
        for field in ("nr", "free", "surplus"):
            total = sum(node[field] for node in row["nodes"])
            if pool[field] != total:
                return f"{name}: {field} is {pool[field]}, the nodes have {total}"
        free = sum(len(pages) for pages in lists["free"])
        if pool["free"] != free:
            return f"{name}: free is {pool['free']}, the free lists hold {free}"
        if pool["nr"] != free + len(lists["active"]):
            return f"{name}: nr is {pool['nr']}, the lists hold another number"
        if pool["surplus"] > pool["nr"]:
            return f"{name}: surplus {pool['surplus']} > nr {pool['nr']}"
    return None


def subpools_in_range(observation: Observation) -> str | None:
    """0 <= rsv <= min and 0 <= used <= max, where there is a minimum or a maximum."""
    for name, spool in observation["subpools"].items():
        if not spool:
            continue
        if spool["min"] != -1 and not 0 <= spool["rsv"] <= spool["min"]:
            return f"mount {name}: rsv_hpages {spool['rsv']} is not within 0..{spool['min']}"
        if spool["max"] != -1 and not 0 <= spool["used"] <= spool["max"]:
            return f"mount {name}: used_hpages {spool['used']} is not within 0..{spool['max']}"
    return None


def _maps(observation: Observation) -> Iterator[tuple[str, Json]]:
    for number, block in enumerate(observation["reservations"]):
        for row in block:
            yield f"file {number}", row
    for proc, areas in observation["vmas"].items():
        for area in areas:
            if "map" in area:
                yield f"vma {proc}:{area['start']}", area["map"]


def maps_are_sorted(observation: Observation) -> str | None:
    """Reservation maps: no addition in progress; regions sorted and disjoint."""
    for where, resv in _maps(observation):
        if resv["adds_in_progress"]:
            return f"{where}: adds_in_progress is {resv['adds_in_progress']}"
        last = None
        for begin, end, _ in resv["regions"]:
            if begin >= end:
                return f"{where}: empty region {begin}..{end}"
            if last is not None and begin < last:
                return f"{where}: region {begin}..{end} overlaps the one before"
            last = end
    return None


def free_folios_are_clean(observation: Observation) -> str | None:
    """A folio on a free list has no reference, is marked freed, and belongs to nobody."""
    for lists in observation["lists"]:
        for folio in (one for pages in lists["free"] for one in pages):
            flags = folio["flags"]
            if folio["refs"] or "freed" not in flags or "restore_reserve" in flags:
                return f"free folio {folio['folio']}: {folio['refs']} references, flags {flags}"
            if "subpool" in flags:
                return f"free folio {folio['folio']}: still belongs to a subpool"
    return None


INVARIANTS: Final = (
    Invariant("resv <= free", "reserved pages are on free lists", reserved_within_free),
    Invariant("pages add up", "counters agree with nodes and lists", pages_add_up),
    Invariant("subpools in range", "subpool counts stay within limits", subpools_in_range),
    Invariant("maps are sorted", "reservation maps at rest", maps_are_sorted),
    Invariant("free folios are clean", "free pages belong to nobody", free_folios_are_clean),
)


def _hosted(spec: OpSpec) -> OpSpec:
    """The operation without the words that the tier refuses."""
    domains = {
        key: kept
        for key, values in spec.domains.items()
        if (kept := tuple(v for v in values if not lacks(Op(spec.kind, {key: v}))))
    }
    return OpSpec(spec.kind, domains, spec.required, spec.about, spec.weight)


class HostedGenerator(HugetlbGenerator):
    """Draws worlds that the tier can boot, and operations that it can run."""

    def op(self, rng: Random, kind: str | None = None) -> Op:
        """The next operation, without arguments that the tier lacks."""
        drawn = super().op(rng, kind)
        if not lacks(drawn):
            return drawn
        args = {k: v for k, v in drawn.args.items() if not lacks(Op(drawn.kind, {k: v}))}
        left = Op(drawn.kind, args)
        # a word that the operation needs: another one instead
        for key in OPS[drawn.kind].required - args.keys():
            words = HostedSubject.ops[drawn.kind].domains[key]
            args[key] = words[int(rng.random() * len(words))]
        return left

    def world(self, rng: Random) -> Args:
        """A small pool, without memory cgroups; few have 1 GiB pages, which take long to make."""
        world = hosted_world(super().world(rng))
        if "hstates" in world and rng.random() >= _GIANT_SHARE:
            return {k: v for k, v in world.items() if k != "hstates" and not k.endswith("_1g")}
        return world


def _lacking_words(spec: OpSpec) -> Iterator[str]:
    """What of an operation the tier lacks: an argument, or single words of one."""
    for key, words in spec.domains.items():
        lacking = [word for word in words if lacks(Op(spec.kind, {key: word}))]
        if len(lacking) == len(words):
            yield f"{spec.kind} {key}"
        else:
            yield from (f"{spec.kind} {key}={word}" for word in lacking)


class HostedSubject(HugetlbSubject):
    """The subject ``hugetlb`` as far as the tier ``native`` has it."""

    ops: Mapping[str, OpSpec] = {
        kind: _hosted(spec) for kind, spec in OPS.items() if not lacks(Op(kind, {}))
    }
    worlds: Mapping[str, Sequence[Scalar]] = hosted_world(WORLDS)  # type: ignore[arg-type,assignment]
    invariants: Sequence[Invariant] = INVARIANTS
    user_sections = USER_SECTIONS
    excluded: Sequence[Excluded] = (
        *(Excluded(section, field, reason) for section, field, reason in _UNSEEN),
        *(
            Excluded("operations", kind, "the tier native refuses it: nothing is run")
            for kind in OPS
            if lacks(Op(kind, {}))
        ),
        *(
            Excluded("operations", words, "the tier native refuses it")
            for kind, spec in OPS.items()
            if not lacks(Op(kind, {}))
            for words in _lacking_words(spec)
        ),
    )

    def generator(self) -> HostedGenerator:
        """A fresh generator."""
        return HostedGenerator(tuple(self.ops))

    def check_world(self, world: Args) -> None:
        """Raise :class:`WorldError` unless ``world`` is one that this tier can boot."""
        super().check_world(world)
        world_of(world)

    def check_op(self, op: Op) -> None:
        """Raise ``TraceError`` unless ``op`` is one that this tier runs."""
        super().check_op(op)
        if lacks(op):
            msg = (
                f"{op}: the tier native cannot run this operation; leave it out, or use --tier port"
            )
            raise TraceError(msg)

    def examples(self) -> Iterable[Trace]:
        """Those written out, and the recordings made by hand, as far as the tier has them."""
        by_hand = (recording for recording in corpus() if recording.profile == "scenario")
        own = parse_trace(_ELSEWHERE)
        recordings = (recording.trace() for recording in by_hand)
        for trace in (own, *written(), *recordings, *rare()):
            if trace.world.get("memory_hugetlb_accounting"):
                continue
            if not any(lacks(op) for op in trace.ops):
                yield trace
