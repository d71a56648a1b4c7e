"""Port and C of one version side by side: what both can show, in the same words.

Each side is a system for the engine, so that the same lockstep, searches and shrinking compare a
port with the C that it was ported from. Sections:

- ``counters``: of each size of page, what sysfs shows and max_huge_pages;
- ``nodes``: the same by node, and where the next page comes from and goes to;
- ``lists``: free and active pages in their order; a page has the number of its first appearance
  for as long as it stays in the pool;
- ``subpools``, ``reservations``: those of files, those of private mappings, in their order;
- ``mounts``, ``cgroups``, ``procs``: what recordings hold; pages of mappings by their numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol

from equivalence.backends.native.replayer import NativeReplayer
from equivalence.backends.native.system import NativeSystem
from equivalence.backends.port import PortSystem
from equivalence.campaign import CHUNK
from equivalence.driver import Lockstep
from equivalence.explain import shrink_divergence
from equivalence.jobs import derive_seed
from equivalence.oracle import oracle_for
from equivalence.sampler import sample
from equivalence.search import Session
from equivalence.subject import Excluded, Invariant, Observation, OpSpec, Relation
from equivalence.subjects.hugetlb.calibration import PortReplayer, Replayer
from equivalence.subjects.hugetlb.hosted import HostedGenerator, HostedSubject
from models.kernel.readout import as_signed
from models.schema.divergence import Divergence
from models.schema.outcome import REFUSED, Outcome
from models.schema.trace import Args, Op, Trace

Json = dict[str, Any]
Lists = Sequence[tuple[Sequence[Sequence[Hashable]], Sequence[Hashable]]]

SECTIONS: Final = (
    "counters",
    "nodes",
    "lists",
    "subpools",
    "reservations",
    "mounts",
    "cgroups",
    "procs",
)
_SIZES: Final = {"hugepages-2048kB": "2M", "hugepages-1048576kB": "1G"}


#: Where a row of the port's section ``inodes`` has the reservation map.
_RESV_MAP: Final = 7


class _Side(Protocol):
    """One tier behind the common words."""

    replayer: Replayer

    def boot(self, world: Args) -> None: ...

    def apply(self, op: Op) -> Outcome: ...

    def lists(self) -> Lists:
        """Of each size: the free lists by node and the active list; pages by any lasting token."""

    def tokens(self) -> Mapping[str, Hashable]:
        """``node:frame`` of every page in the pool, and its token."""

    def rest(self) -> Json:
        """Counters, nodes, subpools and reservations."""


class SideSystem:
    """One side as the engine drives it."""

    sections = frozenset(SECTIONS)

    def __init__(self, side: _Side) -> None:
        self._side = side
        self._names: dict[Hashable, int] = {}
        self._count = 0
        self._seen: Json | None = None
        self._dead = False
        self._world: Args = {}

    def boot(self, world: Args) -> None:
        """Start afresh.

        Raises:
            WorldError: the side cannot boot this world.
        """
        self._side.boot(world)
        self._world = world
        self._names, self._count, self._dead = {}, 0, False
        self._seen = self._look()

    def apply(self, op: Op) -> Outcome:
        """Run one operation. Where and why something ended is each side's own."""
        if self._beyond(op):
            return REFUSED
        outcome = self._side.apply(op)
        self._dead = outcome.fatal
        if not outcome.fatal:
            self._seen = self._look()
        return outcome._replace(detail="", warnings=())

    def _beyond(self, op: Op) -> bool:
        """Whether an operation names a node or a size of pages that the world does not have: the
        machine decides what is there, and the two are different machines."""
        nodes = int(self._world.get("nodes", 2))
        if any(isinstance(n := op.args.get(key), int) and n >= nodes for key in ("node", "cpu")):
            return True
        giant = op.kind == "demote" or "1G" in (op.args.get("size"), op.args.get("pagesize"))
        return giant and "1G" not in str(self._world.get("hstates"))

    def _look(self) -> Json:
        lists = self._side.lists()
        present = [token for free, active in lists for part in (*free, active) for token in part]
        known = set(present)
        self._names = {token: name for token, name in self._names.items() if token in known}
        for token in present:
            if token not in self._names:
                self._count += 1
                self._names[token] = self._count
        names = self._names
        tokens = self._side.tokens()
        view = self._side.replayer.view()
        procs = {
            name: {
                "fds": proc["fds"],
                "hugetlb_pages": proc["hugetlb_pages"],
                "maps": {
                    area: [_page(page, tokens, names) for page in pages]
                    for area, pages in proc["maps"].items()
                },
            }
            for name, proc in sorted(view["procs"].items())
        }
        return {
            **self._side.rest(),
            "lists": [
                {
                    "free": [[names[token] for token in part] for part in free],
                    "active": [names[token] for token in active],
                }
                for free, active in lists
            ],
            "mounts": dict(sorted(view["mounts"].items())),
            "cgroups": dict(sorted(view.get("cgroups", {}).items())),
            "procs": procs,
        }

    def observe(self) -> Observation:
        """The common sections."""
        return {} if self._dead or self._seen is None else self._seen

    def digest(self, relation: Relation) -> Hashable:
        """All sections, whatever the relation."""
        return "dead" if self._dead else json.dumps(self._seen, sort_keys=True)

    def drain_effects(self) -> tuple[str, ...]:
        """None: the two sides have environments of their own."""
        return ()

    def state_key(self) -> Hashable:
        """The digest."""
        return self.digest("state")

    def snapshot(self) -> object:
        """Not offered: traces are run from their beginning."""
        raise NotImplementedError

    def restore(self, snapshot: object) -> None:
        """Not offered."""
        raise NotImplementedError


def _page(page: str | None, tokens: Mapping[str, Hashable], names: Mapping[Hashable, int]) -> Any:
    """The number of a mapped page and its node; an entry that is not present is nothing."""
    if page is None or page == "swap":
        return None
    if ":" not in page:
        return page
    token = tokens.get(page)
    return f"{page.partition(':')[0]}:{names.get(token, 'not in the pool')}"


class PortSide:
    """The port."""

    def __init__(self, system: PortSystem) -> None:
        self._system = system
        self.replayer: Replayer = PortReplayer(system)

    def boot(self, world: Args) -> None:
        """Start afresh."""
        self._system.boot(world)

    def apply(self, op: Op) -> Outcome:
        """Run one operation; one on a name that is not there, or makes it again, is refused, as
        the other side's driver does before it reaches the kernel."""
        strange = self._strange(op)
        outcome = self._system.apply(op)
        return REFUSED if strange and outcome.ret == -1 and not outcome.fatal else outcome

    def _strange(self, op: Op) -> bool:
        space, args, kind = self._system.namespace, op.args, op.kind
        task = space["machine"].tasks.get(args.get("proc"))
        if "fd" in args and kind not in ("open", "memfd_create"):
            return task is None or args["fd"] not in task.fds
        if "mount" in args:
            return (args["mount"] in space["mounts"]) == (kind == "mount")
        if "cgroup" in args and args["cgroup"] != "/":
            children = space["cgroup_root"].children
            return (args["cgroup"] in children) == (kind == "cgroup_create")
        if "shm" in args:
            return (args["shm"] in space["shm_ids"]) == (kind == "shmget")
        return False

    def lists(self) -> Lists:
        """The lists of each hstate."""
        entries = self._system.namespace["entries_on"]
        return [
            (
                [entries(head) for head in hstate.hugepage_freelists[: self._nodes()]],
                entries(hstate.hugepage_activelist),
            )
            for hstate in self._hstates()
        ]

    def tokens(self) -> Mapping[str, Hashable]:
        """The folios themselves."""
        found: Mapping[str, Hashable] = self._system.namespace["read_frames"]()
        return found

    def _nodes(self) -> int:
        return len(self._system.namespace["read_nodes"](self._hstates()[0]))

    def _hstates(self) -> list[Any]:
        hstates = self._system.namespace["hstates"]
        return sorted(hstates, key=lambda hstate: int(hstate.order))

    def rest(self) -> Json:
        """From the port's own observation."""
        seen = self._system.observe()
        space = self._system.namespace
        read_nodes, read_pool = space["read_nodes"], space["read_pool"]
        return {
            "counters": {
                _SIZES[hstate.name]: {**read_pool(hstate), "max": as_signed(hstate.max_huge_pages)}
                for hstate in self._hstates()
            },
            "nodes": [
                {
                    "next_nid_to_alloc": hstate.next_nid_to_alloc,
                    "next_nid_to_free": hstate.next_nid_to_free,
                    "nodes": read_nodes(hstate),
                }
                for hstate in self._hstates()
            ],
            "subpools": {
                mount: {
                    "count": spool["count"],
                    "max": spool["max_hpages"],
                    "used": spool["used_hpages"],
                    "min": spool["min_hpages"],
                    "rsv": spool["rsv_hpages"],
                }
                for mount, spool in sorted(seen["subpools"].items())
            },
            "reservations": {
                "files": _sorted(
                    space["named_map"](row[_RESV_MAP]) for row in space["section_inodes"]()
                ),
                "mappings": {
                    proc: [
                        _map(row["resv_map"])
                        for key, row in _by_address(seen["vmas"])
                        if key.partition(".")[0] == proc and row["resv_map"]
                    ]
                    for proc in sorted(seen["status"])
                },
            },
        }


def _by_address(rows: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(rows.items(), key=lambda item: int(item[0].rpartition(".")[2]))


def _map(resv: Mapping[str, Any]) -> Json:
    """What both sides show of a reservation map; references count what shares it."""
    regions = [[as_signed(one[0]), as_signed(one[1])] for one in resv["regions"]]
    return {"regions": regions, "adds": resv["adds_in_progress"], "refs": resv["refs"]}


def _sorted(maps: Iterable[Mapping[str, Any] | None]) -> list[Json]:
    """The maps of files that hold anything: the two sides have their files in other orders."""
    shown = [_map(one) for one in maps if one]
    return sorted((one for one in shown if one["regions"] or one["adds"]), key=repr)


class NativeSide:
    """The C."""

    def __init__(self, system: NativeSystem) -> None:
        self._replayer = NativeReplayer(system)
        self.replayer: Replayer = self._replayer

    def boot(self, world: Args) -> None:
        """Start afresh."""
        self._replayer.boot(world)

    def apply(self, op: Op) -> Outcome:
        """Run one operation."""
        return self._replayer.apply(op)

    def lists(self) -> Lists:
        """The lists of each hstate, by size."""
        state = self._replayer.state
        sizes = sorted(zip(state["counters"], state["lists"], strict=True), reverse=True)
        return [
            (
                [[(size, folio["folio"]) for folio in part] for part in one["free"]],
                [(size, folio["folio"]) for folio in one["active"]],
            )
            for size, one in sizes
        ]

    def tokens(self) -> Mapping[str, Hashable]:
        """The driver's own numbers, which a page of another size in the same place has too."""
        state = self._replayer.state
        return {
            f"{folio['node']}:{folio['folio']}": (size, folio["folio"])
            for size, one in zip(state["counters"], state["lists"], strict=True)
            for part in (*one["free"], one["active"])
            for folio in part
        }

    def rest(self) -> Json:
        """From the native observation."""
        state = self._replayer.state
        return {
            "counters": dict(sorted(state["counters"].items(), reverse=True)),
            "nodes": [
                row
                for _, row in sorted(
                    zip(state["counters"], state["nodes"], strict=True), reverse=True
                )
            ],
            "subpools": {name: one for name, one in sorted(state["subpools"].items()) if one},
            "reservations": {
                "files": _sorted(one for block in state["reservations"] for one in block),
                "mappings": {
                    proc: [
                        _map(area["map"]) for area in state["vmas"].get(proc, ()) if "map" in area
                    ]
                    for proc in sorted(state["user"]["procs"])
                },
            },
        }


#: What the two sides have each in its own way, so that it is not drawn.
_APART: Final = (
    ("worlds", "hstates=2M,1G", "whether 1 GiB in a row are free is the page allocator's affair"),
    ("operations", "fail_kmalloc", "the native driver tells objects by their size alone"),
)


class SidesGenerator(HostedGenerator):
    """Draws what both sides run alike."""

    def world(self, rng: Random) -> Args:
        """A small pool of 2 MiB pages."""
        return {k: v for k, v in super().world(rng).items() if k != "hstates" and "1g" not in k}


class SidesSubject(HostedSubject):
    """What both tiers run; facts that each keeps alone are checked where it runs alone."""

    ops: Mapping[str, OpSpec] = {
        kind: spec for kind, spec in HostedSubject.ops.items() if kind != "fail_kmalloc"
    }
    invariants: Sequence[Invariant] = ()
    user_sections = frozenset({"counters", "nodes", "mounts", "cgroups", "procs"})
    excluded: Sequence[Excluded] = (
        *HostedSubject.excluded,
        *(Excluded(section, name, reason) for section, name, reason in _APART),
    )

    def generator(self) -> SidesGenerator:
        """A fresh generator."""
        return SidesGenerator(tuple(self.ops))


@dataclass(frozen=True, slots=True)
class Compared:
    """What running both sides came to; ``trace`` is minimal, and shows ``divergence``."""

    operations: int
    traces: int
    trace: Trace | None = None
    divergence: Divergence | None = None
    fault: str = ""


def compare_sides(
    port: SideSystem,
    native: SideSystem,
    operations: int,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
) -> Compared:
    """Run drawn traces on both sides until so many operations agreed, or one did not."""
    subject = SidesSubject()
    lockstep = Lockstep(port, native, oracle_for(port, native, "state", subject.user_sections))
    done = traces = 0
    while done < operations:
        session = Session(subject, lockstep)
        rng = Random(derive_seed("sides", seed, done))
        sample(session, subject.generator(), rng, min(CHUNK, operations - done))
        found = session.close()
        done += found.ops
        traces += found.traces
        tell(done)
        if found.fault is not None:
            return Compared(done, traces, found.fault[0], fault=found.fault[1])
        if found.divergence is not None:
            trace, divergence = found.divergence
            small = shrink_divergence(lockstep, trace, divergence, subject, lambda: False).trace
            return Compared(done, traces, small, lockstep.run(small))
    return Compared(done, traces)
