"""Hierarchical counters: all or nothing up to the root, limits, and texts of limits."""

from __future__ import annotations

import pytest

from models.kernel.errno import EBUSY, EINVAL
from models.kernel.page_counter import PAGE_COUNTER_MAX, PageCounter
from tests.models.linked import Kernel


@pytest.fixture
def k() -> Kernel:
    return Kernel()


def test_a_charge_is_made_everywhere_or_nowhere(k: Kernel) -> None:
    root = PageCounter(None)
    parent = PageCounter(root)
    child = PageCounter(parent)
    parent.max = 10
    assert k.page_counter_try_charge(child, 7) is None
    assert k.page_counter_try_charge(child, 4) is parent
    assert [c.usage for c in (child, parent, root)] == [7, 7, 7]
    assert [c.failcnt for c in (child, parent, root)] == [0, 1, 0]
    # The child was charged for a moment.
    assert [c.watermark for c in (child, parent, root)] == [11, 7, 7]
    k.page_counter_charge(child, 4)
    assert [c.usage for c in (child, parent, root)] == [11, 11, 11]
    k.page_counter_uncharge(child, 11)
    assert [c.usage for c in (child, parent, root)] == [0, 0, 0]


def test_below_zero_warns_once_and_stays_at_zero(k: Kernel) -> None:
    counter = PageCounter(None)
    k.page_counter_charge(counter, 1)
    k.page_counter_cancel(counter, 2)
    k.page_counter_cancel(counter, 2)
    assert counter.usage == 0
    assert k.names["machine"].warnings == ["page_counter underflow"]


def test_a_limit_below_use_is_refused(k: Kernel) -> None:
    counter = PageCounter(None)
    k.page_counter_charge(counter, 5)
    assert k.page_counter_set_max(counter, 4) == -EBUSY
    assert counter.max == PAGE_COUNTER_MAX
    assert k.page_counter_set_max(counter, 5) == 0
    assert counter.max == 5


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("max", PAGE_COUNTER_MAX),
        ("0", 0),
        ("4095", 0),
        ("4096", 1),
        ("4k", 1),
        ("2M", 512),
        ("1G", 1 << 18),
        ("0x2000", 2),
        ("020000", 2),
        ("0x", -EINVAL),
        ("18446744073709551615", PAGE_COUNTER_MAX),
        ("16E", 0),
        ("", 0),
        ("-1", -EINVAL),
        ("1 M", -EINVAL),
        ("1Mi", -EINVAL),
    ],
)
def test_texts_of_limits(k: Kernel, text: str, pages: int) -> None:
    assert k.page_counter_memparse(text, "max") == pages
