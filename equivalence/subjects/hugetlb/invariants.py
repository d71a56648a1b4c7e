"""What mm/hugetlb.c intends to hold between operations, checked on each side alone.

A broken invariant is a defect of the code under test and is reported as one, whichever steps break
it; it is never a divergence by itself. Counters are unsigned longs modulo 2**64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from equivalence.subject import Invariant, Observation
from models.hugetlb.structs import (
    HPAGE_RESV_OWNER,
    HPG_FREED,
    HPG_RESTORE_RESERVE,
)
from models.kernel.structs import PAGE_SHIFT


def _pools(observation: Observation) -> Iterator[tuple[int, str, dict[str, int], dict[str, Any]]]:
    nodes = observation["nodes"]
    for number, (name, pool) in enumerate(observation["pool"].items()):
        yield number, name, pool, nodes[str(number)]


def _order_of(name: str) -> int:
    """log2 of base pages of the hstate of that name (hugepages-2048kB)."""
    return int(name.split("-")[1].removesuffix("kB")).bit_length() - 1 - (PAGE_SHIFT - 10)


def reserved_within_free(observation: Observation) -> str | None:
    """resv <= free, unless a page on a free list may not be used or a policy hides it."""
    if any(row["hwpoison"] for row in observation["folios"].values()):
        return None
    for _, name, pool, _ in _pools(observation):
        if pool["resv"] > pool["free"]:
            return f"{name}: resv_huge_pages {pool['resv']} > free_huge_pages {pool['free']}"
    return None


def pages_add_up(observation: Observation) -> str | None:
    """nr, free and surplus are the sums over the nodes and the lengths of the lists."""
    for number, name, pool, nodes in _pools(observation):
        lists = observation["lists"][str(number)]
        free = sum(len(pages) for pages in lists["hugepage_freelists"])
        for field, key in (("nr", "nr"), ("free", "free"), ("surplus", "surplus")):
            if pool[field] != sum(nodes[key]):
                return f"{name}: {field} is {pool[field]}, the nodes have {sum(nodes[key])}"
        if pool["free"] != free:
            return f"{name}: free is {pool['free']}, the free lists hold {free}"
        if pool["nr"] != free + len(lists["hugepage_activelist"]):
            return f"{name}: nr is {pool['nr']}, the lists hold another number"
        if pool["surplus"] > pool["nr"]:
            return f"{name}: surplus {pool['surplus']} > nr {pool['nr']}"
    return None


def reservations_add_up(observation: Observation) -> str | None:
    """resv is what subpools hold back, plus reserved pages of files that are not in the page cache,
    plus reserved pages of private mappings that their owner has not used."""
    names = list(observation["pool"])
    if len(names) != 1:
        return None
    order = _order_of(names[0])
    expected = sum(
        spool["rsv_hpages"]
        for spool in observation["subpools"].values()
        if spool["min_hpages"] != -1
    )
    for inode in observation["inodes"].values():
        if inode["resv_map"]:
            present = {index for index, _ in inode["pages"]}
            for begin, end, *_ in inode["resv_map"]["regions"]:
                expected += sum(1 for index in range(begin, end) if index not in present)
    for key, vma in observation["vmas"].items():
        if vma["resv_flags"] & HPAGE_RESV_OWNER and vma["resv_map"]:
            start = int(key.rpartition(".")[2])
            first = vma["pgoff"] >> order
            last = first + ((vma["end"] - start) >> (order + PAGE_SHIFT))
            used = sum(
                max(0, min(end, last) - max(begin, first))
                for begin, end, *_ in vma["resv_map"]["regions"]
            )
            expected += last - first - used
    resv = observation["pool"][names[0]]["resv"]
    if resv != expected % (1 << 64):
        return f"{names[0]}: resv_huge_pages is {resv}, reservations add up to {expected}"
    return None


def subpools_in_range(observation: Observation) -> str | None:
    """0 <= rsv <= min and 0 <= used <= max, where there is a minimum or a maximum."""
    for name, spool in observation["subpools"].items():
        low, high = spool["min_hpages"], spool["max_hpages"]
        if low != -1 and not 0 <= spool["rsv_hpages"] <= low:
            return f"mount {name}: rsv_hpages {spool['rsv_hpages']} is not within 0..{low}"
        if high != -1 and not 0 <= spool["used_hpages"] <= high:
            return f"mount {name}: used_hpages {spool['used_hpages']} is not within 0..{high}"
    return None


def maps_are_canonical(observation: Observation) -> str | None:
    """Reservation maps: no addition in progress, regions sorted, disjoint and merged."""
    maps = [(f"inode {key}", row["resv_map"]) for key, row in observation["inodes"].items()] + [
        (f"vma {key}", row["resv_map"]) for key, row in observation["vmas"].items()
    ]
    for where, resv in maps:
        if not resv:
            continue
        if resv["adds_in_progress"]:
            return f"{where}: adds_in_progress is {resv['adds_in_progress']}"
        last: tuple[Any, ...] | None = None
        for region in resv["regions"]:
            begin, end = region[0], region[1]
            if begin >= end:
                return f"{where}: empty region {begin}..{end}"
            if last is not None and (
                begin < last[1] or (begin == last[1] and region[2:] == last[2:])
            ):
                return f"{where}: regions {last[0]}..{last[1]} and {begin}..{end} overlap or touch"
            last = region
    return None


def free_folios_are_clean(observation: Observation) -> str | None:
    """A folio on a free list has no reference, is marked freed, and is charged to nobody."""
    free = {
        number
        for lists in observation["lists"].values()
        for pages in lists["hugepage_freelists"]
        for number in pages
    }
    for key, row in observation["folios"].items():
        if int(key) not in free:
            continue
        if row["refcount"] or not row["hpg"] & HPG_FREED or row["hpg"] & HPG_RESTORE_RESERVE:
            return f"free folio {key}: refcount {row['refcount']}, flags {row['hpg']:#x}"
        if row["subpool"] or row["hugetlb_cgroup"] or row["hugetlb_cgroup_rsvd"]:
            return f"free folio {key}: still belongs to a subpool or cgroup"
    return None


def idle_is_unreserved(observation: Observation) -> str | None:
    """Without a process, a file and a subpool nothing is reserved, in use or charged."""
    if observation["status"] or observation["inodes"] or observation["subpools"]:
        return None
    for _, name, pool, _ in _pools(observation):
        if pool["resv"] or pool["free"] != pool["nr"]:
            return f"{name}: idle, but resv {pool['resv']}, free {pool['free']} of {pool['nr']}"
    for group, counters in observation["limits"].items():
        for counter in counters.values():
            if counter["current"] or counter["rsvd.current"]:
                return f"cgroup {group}: idle, but {counter['current']} pages are charged"
    return None


INVARIANTS: Final = (
    Invariant("resv-within-free", "resv_huge_pages <= free_huge_pages", reserved_within_free),
    Invariant("pages-add-up", "pool counters are the sums of nodes and lists", pages_add_up),
    Invariant(
        "reservations-add-up", "resv_huge_pages is the sum of reservations", reservations_add_up
    ),
    Invariant("subpools-in-range", "subpool counters stay within their limits", subpools_in_range),
    Invariant(
        "maps-canonical", "reservation maps are sorted, merged and at rest", maps_are_canonical
    ),
    Invariant("free-folios-clean", "free folios belong to nobody", free_folios_are_clean),
    Invariant(
        "idle-unreserved", "nothing is reserved or charged when all is gone", idle_is_unreserved
    ),
)
