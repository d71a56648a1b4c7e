"""Turns the driver's words back into sections with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from equivalence.backends.native.encode import Encoder
from equivalence.backends.native.worker import SECTIONS

_OPEN: Final = 0x4E48000000000001
_CLOSE: Final = 0x4E48000000000002

Tree = list[Any]


def nest(words: Sequence[int]) -> Tree:
    """The bracketed stream as nested lists."""
    top: Tree = []
    stack = [top]
    for word in words:
        if word == _OPEN:
            inner: Tree = []
            stack[-1].append(inner)
            stack.append(inner)
        elif word == _CLOSE:
            stack.pop()
        else:
            stack[-1].append(word)
    return top


def signed(word: int) -> int:
    """A kernel counter as signed 64 bit: an underflow shows as -1."""
    return word - (1 << 64) if word >> 63 else word


def _counters(tree: Tree) -> Any:
    keys = ("order", "nr", "free", "resv", "surplus", "overcommit", "max")
    return {
        _size(one[0]): {key: signed(word) for key, word in zip(keys[1:], one[1:], strict=True)}
        for one in tree
    }


def _size(order: int) -> str:
    return {9: "2M", 18: "1G"}.get(order, f"order{order}")


def _nodes(tree: Tree) -> Any:
    made = []
    for one in tree:
        counts = one[2:]
        made.append(
            {
                "next_nid_to_alloc": one[0],
                "next_nid_to_free": one[1],
                "nodes": [
                    {"nr": counts[at], "free": counts[at + 1], "surplus": counts[at + 2]}
                    for at in range(0, len(counts), 3)
                ],
            }
        )
    return made


_FLAGS: Final = (
    "restore_reserve",
    "migratable",
    "temporary",
    "freed",
    "anon",
    "locked",
    "dirty",
    "uptodate",
    "subpool",
)


def _folio(one: Tree) -> Any:
    return {
        "folio": one[0],
        "node": one[1],
        "refs": signed(one[2]),
        "mapcount": signed(one[3]),
        "flags": [name for bit, name in enumerate(_FLAGS) if one[4] >> bit & 1],
        "cgroup": one[5],
        "rsvd_cgroup": one[6],
    }


def _lists(tree: Tree) -> Any:
    return [
        {
            "free": [[_folio(folio) for folio in node] for node in one[:-1]],
            "active": [_folio(folio) for folio in one[-1]],
        }
        for one in tree
    ]


def _subpools(tree: Tree, names: Mapping[int, str]) -> Any:
    keys = ("count", "max", "used", "min", "rsv")
    return {
        names.get(one[0], str(one[0])): {
            key: signed(word) for key, word in zip(keys, one[1:], strict=False)
        }
        or None
        for one in tree
    }


def _map(one: Tree) -> Any:
    spans = one[5]
    return {
        "refs": one[0],
        "adds_in_progress": signed(one[1]),
        "cache": signed(one[2]),
        "pages_per_hpage": one[3],
        "cgroup": one[4],
        "regions": [
            [signed(spans[at]), signed(spans[at + 1]), spans[at + 2]]
            for at in range(0, len(spans), 3)
        ],
    }


def _reservations(tree: Tree) -> Any:
    return [[_map(one) for one in block] for block in tree]


def _page_cache(tree: Tree) -> Any:
    return [
        {
            "size": one[0],
            "blocks": one[1],
            "nlink": one[2],
            "nrpages": one[3],
            "pages": [[one[at], one[at + 1], one[at + 2]] for at in range(4, len(one), 3)],
        }
        for one in tree
    ]


def _page_tables(tree: Tree, procs: Mapping[int, str], maps: Mapping[int, str]) -> Any:
    made = {}
    for proc in tree:
        inner = {}
        for one in proc[1:]:
            slot, lost, words = one[0], one[1], iter(one[2:])
            pages: list[Any] = []
            for word in words:
                if word < 2:
                    pages.append("swap" if word else None)
                else:
                    pages.append(
                        {
                            "folio": word >> 8 & 0xFFFFFF,
                            "node": word >> 32,
                            "write": bool(word & 4),
                            "dirty": bool(word & 8),
                            "present": bool(word & 16),
                            "data": next(words),
                        }
                    )
            inner[maps.get(slot, str(slot))] = [
                "-" if lost >> number & 1 else page for number, page in enumerate(pages)
            ]
        made[procs.get(proc[0], str(proc[0]))] = inner
    return made


def _vmas(tree: Tree, procs: Mapping[int, str]) -> Any:
    made = {}
    for proc in tree:
        areas = []
        for one in proc[1:]:
            area = {
                "start": one[0],
                "end": one[1],
                "offset": one[2],
                "flags": one[3],
                "anon_vma": bool(one[4]),
                "reservation": one[5],
            }
            if len(one) > 6:
                area["map"] = _map(one[6])
            areas.append(area)
        made[procs.get(proc[0], str(proc[0]))] = areas
    return made


def _cgroups(tree: Tree, names: Mapping[int, str]) -> Any:
    keys = ("current", "rsvd_current", "max", "rsvd_max", "events_max")
    made = {}
    for one in tree:
        counts = one[1:]
        made[names.get(one[0], str(one[0]))] = [
            {key: signed(word) for key, word in zip(keys, counts[at : at + 5], strict=True)}
            for at in range(0, len(counts), 5)
        ]
    return made


def _user(tree: Tree, encoder: Encoder) -> Any:
    mounts, procs, fds = encoder.names("mount"), encoder.names("proc"), encoder.names("fd")
    return {
        "mounts": {
            mounts.get(one[0], str(one[0])): {
                "f_blocks": signed(one[1]),
                "f_bfree": signed(one[2]),
                "f_bavail": signed(one[3]),
            }
            for one in tree[0]
        },
        "procs": {
            procs.get(one[0], str(one[0])): {
                "hugetlb_pages": signed(one[1]),
                "fds": {
                    fds.get(fd[0], str(fd[0])): {"size": fd[1], "blocks": fd[2], "nlink": fd[3]}
                    for fd in one[2:]
                },
            }
            for one in tree[1:]
        },
    }


def _policy(tree: Tree, procs: Mapping[int, str]) -> Any:
    return {
        procs.get(one[0], str(one[0])): {
            "cpu": one[1],
            "policy": dict(zip(("mode", "flags", "nodes", "il_prev"), one[2:], strict=False)),
        }
        for one in tree
    }


def observation(words: Sequence[int], encoder: Encoder) -> dict[str, Any]:
    """The sections of one state, with the names of the trace.

    Counters are signed; sizes, offsets and counts are in huge pages of the mapping or hstate.
    """
    tree = dict(zip(SECTIONS, nest(words), strict=True))
    procs, maps = encoder.names("proc"), encoder.names("map")
    return {
        "counters": _counters(tree["counters"]),
        "nodes": _nodes(tree["nodes"]),
        "lists": _lists(tree["lists"]),
        "subpools": _subpools(tree["subpools"], encoder.names("mount")),
        "reservations": _reservations(tree["reservations"]),
        "page_cache": _page_cache(tree["page_cache"]),
        "page_tables": _page_tables(tree["page_tables"], procs, maps),
        "vmas": _vmas(tree["vmas"], procs),
        "cgroups": _cgroups(tree["cgroups"], encoder.names("cgroup")),
        "user": _user(tree["user"], encoder),
        "policy": _policy(tree["policy"], procs),
        "effects": tree["effects"],
    }
