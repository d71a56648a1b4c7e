"""The page cache: references, locking, batches."""

from __future__ import annotations

from typing import Any

import pytest

from models.kernel.errno import EEXIST, ENOENT
from models.kernel.filemap import PAGEVEC_SIZE
from models.kernel.machine import KernelBug
from models.kernel.structs import Folio, Inode, SuperBlock
from tests.models.booted import Booted

ORDER = 9
NR = 1 << ORDER


@pytest.fixture
def k() -> Booted:
    return Booted()


@pytest.fixture
def mapping(k: Booted) -> Any:
    return Inode(1, SuperBlock("h", k.hstates[0])).i_mapping


def folio_at(k: Booted, mapping: Any, page: int) -> Folio:
    folio = Folio(page * NR, 0, ORDER)
    folio.hugetlb = True
    folio.locked = True
    assert k._filemap_add_folio(mapping, folio, page << ORDER, 0, None) == 0
    return folio


def test_the_cache_holds_a_reference_for_every_base_page(k: Booted, mapping: Any) -> None:
    folio = folio_at(k, mapping, 3)
    assert (folio.refcount, folio.index, folio.mapping) == (1 + NR, 3 << ORDER, mapping)
    k.filemap_remove_folio(folio)
    # The index stays, as whoever truncates goes on by it.
    assert (folio.refcount, folio.index, folio.mapping) == (1, 3 << ORDER, None)
    assert mapping.pages == {}


def test_a_second_folio_at_one_place_is_not_added(k: Booted, mapping: Any) -> None:
    folio_at(k, mapping, 0)
    other = Folio(NR, 0, ORDER)
    other.locked = True
    assert k._filemap_add_folio(mapping, other, 0, 0, None) == -EEXIST
    assert (other.refcount, other.mapping) == (1, None)


def test_adding_an_unlocked_or_misplaced_folio_is_a_bug(k: Booted, mapping: Any) -> None:
    folio = Folio(0, 0, ORDER)
    with pytest.raises(KernelBug, match="folio_test_locked"):
        k._filemap_add_folio(mapping, folio, 0, 0, None)
    folio.locked = True
    with pytest.raises(KernelBug, match="folio_nr_pages"):
        k._filemap_add_folio(mapping, folio, 1, 0, None)


def test_removing_a_mapped_folio_is_a_bug(k: Booted, mapping: Any) -> None:
    folio = folio_at(k, mapping, 0)
    folio.mapcount = 1
    with pytest.raises(KernelBug, match="folio_mapped"):
        k.filemap_remove_folio(folio)


def test_a_lookup_takes_a_reference_and_where_asked_the_lock(k: Booted, mapping: Any) -> None:
    folio = folio_at(k, mapping, 1)
    folio.locked = False
    assert k.filemap_get_folio(mapping, 0) == -ENOENT
    # Any base page of the folio finds it.
    assert k.filemap_get_folio(mapping, NR + 7) is folio
    assert (folio.refcount, folio.locked) == (2 + NR, False)
    assert k.filemap_lock_hugetlb_folio(k.hstates[0], mapping, 1) is folio
    assert (folio.refcount, folio.locked) == (3 + NR, True)
    assert k.filemap_lock_hugetlb_folio(k.hstates[0], mapping, 2) == -ENOENT


def test_batches_end_when_full_or_at_the_end(k: Booted, mapping: Any) -> None:
    folios = [folio_at(k, mapping, 2 * page) for page in range(PAGEVEC_SIZE + 2)]
    batch, following = k.filemap_get_folios(mapping, 0, (1 << 40) - 1)
    assert (batch, following) == (folios[:-2], folios[PAGEVEC_SIZE - 1].index + NR)
    batch, following = k.filemap_get_folios(mapping, following, (1 << 40) - 1)
    assert (batch, following) == (folios[-2:], 1 << 40)
    assert all(folio.refcount == 2 + NR for folio in folios)
    # An end inside of a folio includes it.
    batch, following = k.filemap_get_folios(mapping, NR, 2 * NR)
    assert (batch, following) == ([folios[1]], 2 * NR + 1)


def test_a_contiguous_batch_ends_at_the_first_hole(k: Booted, mapping: Any) -> None:
    first, second = folio_at(k, mapping, 0), folio_at(k, mapping, 1)
    folio_at(k, mapping, 3)
    assert k.filemap_get_folios_contig(mapping, 0, 10 * NR) == ([first, second], 2 * NR)
    assert k.filemap_get_folios_contig(mapping, 2 * NR, 10 * NR) == ([], 2 * NR)
