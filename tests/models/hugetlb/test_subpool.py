"""Subpools: minimum and maximum sizes, and when one is released."""

from __future__ import annotations

import pytest

from models.kernel.errno import ENOMEM
from models.kernel.machine import KernelCrash
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    kernel = Kernel()
    kernel.pool(8)
    return kernel


def test_without_a_subpool_everything_is_global(k: Kernel) -> None:
    assert k.hugepage_subpool_get_pages(None, 3) == 3
    assert k.hugepage_subpool_put_pages(None, 3) == 3


def test_the_maximum_is_a_limit_on_use(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 4, -1)
    assert spool.rsv_hpages == -1
    assert k.hugepage_subpool_get_pages(spool, 4) == 4
    assert k.hugepage_subpool_get_pages(spool, 1) == -ENOMEM
    assert spool.used_hpages == 4
    assert spool.lock.owner is None
    assert k.hugepage_subpool_put_pages(spool, 3) == 3
    assert spool.used_hpages == 1


def test_the_minimum_is_reserved_at_once_and_given_out_first(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, -1, 3)
    assert k.counters() == (8, 8, 3, 0)
    assert k.hugepage_subpool_get_pages(spool, 2) == 0
    assert spool.rsv_hpages == 1
    assert k.hugepage_subpool_get_pages(spool, 2) == 1
    assert spool.rsv_hpages == 0
    assert k.hugepage_subpool_get_pages(spool, 2) == 2
    # Use is not counted without a maximum, so it always looks below the minimum.
    assert spool.used_hpages == 0
    assert k.hugepage_subpool_put_pages(spool, 2) == 0
    assert k.hugepage_subpool_put_pages(spool, 2) == 1
    assert spool.rsv_hpages == 3


def test_with_both_the_minimum_refills_only_below_it(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 6, 2)
    assert k.hugepage_subpool_get_pages(spool, 5) == 3
    assert k.hugepage_subpool_put_pages(spool, 1) == 1
    assert (spool.used_hpages, spool.rsv_hpages) == (4, 0)
    assert k.hugepage_subpool_put_pages(spool, 3) == 1
    assert (spool.used_hpages, spool.rsv_hpages) == (1, 2)


def test_a_minimum_that_cannot_be_reserved_makes_no_subpool(k: Kernel) -> None:
    assert k.hugepage_new_subpool(k.h, -1, 9) is None
    assert k.counters() == (8, 8, 0, 0)
    k.fail("kmalloc_subpool")
    assert k.hugepage_new_subpool(k.h, -1, 1) is None
    assert k.counters() == (8, 8, 0, 0)


def test_an_idle_subpool_goes_with_its_mount(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 4, 2)
    k.hugepage_put_subpool(spool)
    assert k.counters() == (8, 8, 0, 0)


def test_pages_in_use_keep_a_subpool_without_its_mount(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, -1, 2)
    k.hugepage_subpool_get_pages(spool, 1)
    k.hugepage_put_subpool(spool)
    assert k.counters() == (8, 8, 2, 0)
    assert k.hugepage_subpool_put_pages(spool, 1) == 0
    assert k.counters() == (8, 8, 0, 0)


def test_a_mount_puts_its_subpool_once(k: Kernel) -> None:
    spool = k.hugepage_new_subpool(k.h, 4, -1)
    k.hugepage_put_subpool(spool)
    with pytest.raises(KernelCrash, match="use-after-free"):
        k.hugepage_put_subpool(spool)
