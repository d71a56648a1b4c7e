"""A user of huge pages without any mapping."""

from __future__ import annotations

from tests.models.booted import Booted


def test_a_guest_is_reserved_for_when_it_is_made() -> None:
    k = Booted()
    assert k.errno("guest_create guest=g len=5") == "ENOMEM"
    assert k.errno("guest_create guest=g len=0") == "EINVAL"
    assert (k.pool, k.mounts) == ((4, 4, 0, 0), {})
    k.do("guest_create guest=g len=3 min_size=2")
    assert k.pool == (4, 4, 3, 0)
    k.do("guest_alloc guest=g page=0", "guest_alloc guest=g page=2")
    assert k.pool == (4, 2, 1, 0)
    assert k.errno("guest_alloc guest=g page=2") == "EEXIST"
    assert k.errno("guest_alloc guest=g page=3") == "EINVAL"
    assert k.errno("guest_alloc guest=none page=0") == "ENOENT"
    k.do("guest_free guest=g page=2")
    k.do("guest_destroy guest=g")
    assert k.pool == (4, 4, 0, 0)
    assert k.errno("guest_destroy guest=g") == "ENOENT"


def test_a_guest_without_reservations_gets_what_is_free() -> None:
    k = Booted()
    k.do("guest_create guest=g len=4 noreserve=1", "guest_alloc guest=g page=0")
    assert k.pool == (4, 3, 0, 0)
    k.do("spawn id=A", "mmap proc=A map=m type=private len=3")
    assert k.errno("guest_alloc guest=g page=1") == "ENOSPC"


def test_avoiding_the_reserve_leaves_the_reservation_in_place() -> None:
    k = Booted()
    k.do("guest_create guest=g len=3 max_size=4", "guest_alloc guest=g page=0 avoid_reserve=1")
    assert k.pool == (4, 3, 3, 0)


def test_avoiding_the_reserve_needs_room_in_the_subpool() -> None:
    """The reservation counts as used: one page more is over a limit of exactly the guest."""
    k = Booted()
    k.do("guest_create guest=g len=3")
    assert k.errno("guest_alloc guest=g page=0 avoid_reserve=1") == "ENOSPC"
    assert k.pool == (4, 4, 3, 0)


def test_a_guest_counts_as_a_mount_that_is_busy() -> None:
    k = Booted()
    k.do("guest_create guest=g len=1")
    assert k.refused("guest_create guest=g len=1")
    assert k.errno("umount mount=g") == "EBUSY"
    assert k.tail()["clean"]
