"""Files, inodes and mounts: who holds what, and when it goes."""

from __future__ import annotations

import pytest

from tests.models.booted import Booted


@pytest.fixture
def k() -> Booted:
    booted = Booted()
    booted.do("spawn id=A", "mount mount=h", "open proc=A fd=f mount=h name=x")
    return booted


def test_a_file_outlives_its_name_while_it_is_open(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=0 len=2", "unlink mount=h name=x")
    assert (k.pool[1], k.file("A", "f")["nlink"]) == (2, 0)
    assert k.errno("unlink mount=h name=x") == "ENOENT"
    k.do("close proc=A fd=f")
    assert k.pool[1] == 4
    assert k.mounts["h"].names == {}


def test_a_name_holds_a_file_that_nobody_has_open(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=0 len=2", "close proc=A fd=f")
    assert k.pool[1] == 2
    k.do("open proc=A fd=g mount=h name=x")
    assert k.file("A", "g") == {"size": 2, "blocks": 2, "nlink": 1}


def test_a_mapping_keeps_a_file_and_its_mount(k: Booted) -> None:
    k.do("mmap proc=A map=m type=shared len=2 fd=f", "close proc=A fd=f", "unlink mount=h name=x")
    assert k.errno("umount mount=h") == "EBUSY"
    k.do("munmap proc=A map=m start=0 len=1")
    assert k.errno("umount mount=h") == "EBUSY"
    k.do("munmap proc=A map=m", "umount mount=h")
    assert k.pool == (4, 4, 0, 0)


def test_unmounting_evicts_the_files(k: Booted) -> None:
    k.do("fallocate proc=A fd=f off=0 len=2", "close proc=A fd=f", "umount mount=h")
    assert k.pool == (4, 4, 0, 0)
    assert k.errno("umount mount=h") == "ENOENT"
    assert k.errno("open proc=A fd=f mount=h name=x") == "ENOENT"


def test_a_child_has_its_parents_files(k: Booted) -> None:
    k.do("fork proc=A child=B", "unlink mount=h name=x", "exit proc=A")
    k.do("fallocate proc=B fd=f off=0 len=1")
    assert k.pool[1] == 3
    k.do("exit proc=B")
    assert k.pool[1] == 4


def test_closing_takes_the_lowest_descriptor_first_whatever_the_order_of_names(k: Booted) -> None:
    k.do("open proc=A fd=g mount=h name=y", "close proc=A fd=f", "open proc=A fd=f mount=h name=z")
    numbers = k.machine.tasks["A"].fd_numbers
    assert (numbers["f"], numbers["g"]) == (0, 1)
    k.do("fork proc=A child=B")
    assert k.machine.tasks["B"].fd_numbers == numbers


def test_files_dropped_in_a_system_call_are_released_last_first(k: Booted) -> None:
    """The front of a node's free list is what was freed last."""
    k.do("open proc=A fd=g mount=h name=y", "unlink mount=h name=x", "unlink mount=h name=y")
    k.do("fallocate proc=A fd=f off=0 len=1", "fallocate proc=A fd=g off=0 len=1")
    first = k.machine.tasks["A"].fds["f"].f_mapping.pages[0]
    k.do("exit proc=A")
    assert k.hstates[0].hugepage_freelists[first.nid].next.entry is first


def test_missing_files_and_bad_ranges(k: Booted) -> None:
    assert k.errno("close proc=A fd=none") == "EBADF"
    assert k.errno("ftruncate proc=A fd=none len=1") == "EBADF"
    assert k.errno("fallocate proc=A fd=none off=0 len=1") == "EBADF"
    assert k.errno("mmap proc=A map=m type=shared len=1 fd=none") == "EBADF"
    assert k.errno("fallocate proc=A fd=f off=0 len=0") == "EINVAL"
    assert k.errno("fallocate proc=A fd=f off=0 len=1 mode=zero_range") == "EOPNOTSUPP"
    assert k.errno("fallocate proc=A fd=f off=0 len=1 mode=collapse_range") == "EOPNOTSUPP"
    assert k.errno("mmap proc=A map=m type=shared len=0 fd=f") == "EINVAL"


@pytest.mark.parametrize(
    ("size", "least", "errno", "blocks"),
    [("", "", None, 0), ("3", "", None, 3), ("", "2", None, -1), ("3", "3", None, 3),
     ("2", "3", "EINVAL", 0), ("", "5", "ENOMEM", 0)],
)  # fmt: skip
def test_mount_options(size: str, least: str, errno: str | None, blocks: int) -> None:
    k = Booted()
    line = "mount mount=h" + (size and f" size={size}") + (least and f" min_size={least}")
    assert k.errno(line) == errno
    if errno is None:
        assert k.view["mounts"]["h"] == dict.fromkeys(("f_blocks", "f_bfree", "f_bavail"), blocks)
        assert k.pool[2] == int(least or 0)
        k.do("umount mount=h")
    assert k.pool == (4, 4, 0, 0)


def test_the_limit_on_inodes_counts_the_root() -> None:
    k = Booted()
    assert k.errno("mount mount=h nr_inodes=0 min_size=1") == "ENOMEM"
    assert k.pool == (4, 4, 0, 0)
    k.do("spawn id=A", "mount mount=h nr_inodes=2", "open proc=A fd=f mount=h name=x")
    assert k.errno("open proc=A fd=g mount=h name=y") == "ENOSPC"
    k.do("unlink mount=h name=x", "close proc=A fd=f", "open proc=A fd=g mount=h name=y")


def test_a_percentage_is_of_the_pool() -> None:
    k = Booted("nr_hugepages=5")
    k.do("mount mount=h size_percent=50 min_size_percent=20")
    assert (k.view["mounts"]["h"]["f_blocks"], k.pool[2]) == (2, 1)


def test_names_in_use_and_unknown_processes_are_refused(k: Booted) -> None:
    assert k.refused("open proc=A fd=f mount=h name=y")
    assert k.refused("open proc=Z fd=f mount=h name=y")
    assert k.refused("mount mount=h")
    assert k.refused("mount mount=i pagesize=1G")
    assert k.refused("ftruncate proc=A fd=f len=-1")
