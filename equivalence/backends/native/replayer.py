"""A native system shown as recordings show the kernel, for calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equivalence.backends.native.system import NativeSystem
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op

Json = dict[str, Any]

_POOL = ("nr", "free", "resv", "surplus", "overcommit")


class NativeReplayer:
    """Boots worlds and shows the state after each operation in the recordings' words."""

    def __init__(self, system: NativeSystem) -> None:
        self._system = system
        self._tokens: dict[int, object] = {}
        self._state: Mapping[str, Any] = {}

    def boot(self, world: Args) -> None:
        """Start afresh."""
        self._system.boot(world)
        self._tokens.clear()
        self._state = self._system.observe()

    def apply(self, op: Op) -> Outcome:
        """Run one operation."""
        outcome = self._system.apply(op)
        self._state = self._system.observe()
        return outcome

    @property
    def state(self) -> Mapping[str, Any]:
        """The whole observation after the last operation; empty when the system is dead."""
        return self._state

    def view(self) -> Json:
        """The state in the shape of an operation line; empty when the system is dead."""
        state = self._state
        if not state:
            return {"pool": {}, "nodes": [], "mounts": {}, "procs": {}}
        user = state["user"]
        view: Json = {
            "pool": {key: state["counters"]["2M"][key] for key in _POOL},
            "nodes": state["nodes"][_two_mb(state)]["nodes"],
            "mounts": user["mounts"],
        }
        if state["cgroups"]:
            view["cgroups"] = {
                name: _cgroup(counts[_two_mb(state)]) for name, counts in state["cgroups"].items()
            }
        view["procs"] = {
            name: {
                "maps": {
                    map_name: [_page(page) for page in pages]
                    for map_name, pages in state["page_tables"].get(name, {}).items()
                },
                "fds": proc["fds"],
                "hugetlb_pages": proc["hugetlb_pages"],
            }
            for name, proc in user["procs"].items()
        }
        return view

    def frames(self) -> Mapping[str, object]:
        """Each page in the pool by its ``node:frame``; the token stays while the page does."""
        if not self._state:
            return {}
        lists = self._state["lists"][_two_mb(self._state)]
        folios = [folio for node in lists["free"] for folio in node] + lists["active"]
        self._tokens = {
            folio["folio"]: self._tokens.get(folio["folio"], object()) for folio in folios
        }
        return {
            f"{folio['node']}:{folio['folio']}": self._tokens[folio["folio"]] for folio in folios
        }

    def tail(self) -> Json:
        """Tear everything down as the recorder does; what is left."""
        system = self._system
        busy = 0
        for name in list(self._state["user"]["procs"] if self._state else ()):
            # Not a kill: a process that is killed lets go of its pins some time after.
            system.apply(Op("exit", {"proc": name}))
        for name in system.names("shm"):
            system.apply(Op("shm_rmid", {"shm": name}))
        for name in list(self._state["user"]["mounts"] if self._state else ()):
            busy += system.apply(Op("umount", {"mount": name})).ret != 0
        for name in list(self._state["cgroups"] if self._state else ()):
            busy += system.apply(Op("cgroup_rmdir", {"cgroup": name})).ret != 0
        idle = _totals(system.observe())
        system.apply(Op("set_nr_overcommit_hugepages", {"n": 0}))
        system.apply(Op("set_nr_hugepages", {"n": 0}))
        empty = _totals(system.observe())
        clean = (
            busy == 0
            and idle.get("nr") == idle.get("free")
            and not idle.get("resv")
            and not idle.get("surplus")
            and not any(empty.values())
        )
        return {"end": True, "clean": clean, "busy": busy, "idle": idle, "empty": empty}


def _two_mb(state: Mapping[str, Any]) -> int:
    """Which of the hstates has 2 MiB pages."""
    return list(state["counters"]).index("2M")


def _totals(state: Mapping[str, Any]) -> Json:
    if not state:
        return {}
    return {key: state["counters"]["2M"][key] for key in _POOL[:4]}


def _cgroup(counts: Mapping[str, int]) -> Json:
    def limit(value: int) -> int | str:
        return "max" if value < 0 else value

    return {
        "current": counts["current"],
        "rsvd.current": counts["rsvd_current"],
        "max": limit(counts["max"]),
        "rsvd.max": limit(counts["rsvd_max"]),
        "events_max": counts["events_max"],
    }


def _page(page: Any) -> str | None:
    # of a huge page's entry that is not present (a marker, a migration) pagemap tells nothing
    if page is None or page == "swap":
        return None
    if isinstance(page, str):
        return page
    return f"{page['node']}:{page['folio']}"
