"""Races to be planted in the C, as recipes: they show only when two operations run together."""

from tests.backends.native.recipes import INODE, Edit
from tests.backends.native.vma_series import ALLOC, DEQUEUE

#: A file is mapped, and its size set, without the inode's lock.
NO_LOCK = (
    Edit("hugetlbfs_file_mmap", "\tinode_lock(inode);", "", INODE),
    Edit("hugetlbfs_file_mmap", "\tinode_unlock(inode);", "", INODE),
)

#: The reserved count is read before the lock is taken, and written back under it.
KEPT_VALUE = (
    Edit(
        "hugetlb_acct_memory",
        "\tspin_lock_irq(&hugetlb_lock);",
        "\tunsigned long known = h->resv_huge_pages;\n"
        "\tspin_lock_irq(&hugetlb_lock);\n"
        "\th->resv_huge_pages = known;",
    ),
)

#: Whether a page is free to be taken is asked before the lock is taken, and not again.
MOVED_CHECK = (
    Edit(
        ALLOC,
        "\tspin_lock_irq(&hugetlb_lock);\n\t/*",
        "\tbool room = available_huge_pages(h);\n\tspin_lock_irq(&hugetlb_lock);\n\t/*",
    ),
    Edit(
        ALLOC,
        "\tfolio = dequeue_hugetlb_folio_vma(",
        "\tfolio = !room && !vma_has_reserves(vma, gbl_chg) ? NULL :\n"
        "\t\tdequeue_hugetlb_folio_vma(",
    ),
    Edit(
        DEQUEUE,
        "\tif (!vma_has_reserves(vma, chg) && !available_huge_pages(h))",
        "\tif (!h)",
    ),
)

#: Mapping and truncating a file take the same two locks, each in its own order.
TWO_ORDERS = (
    Edit(
        "hugetlbfs_file_mmap",
        "\tinode_lock(inode);",
        "\tmutex_lock(&h->resize_lock);\n\tinode_lock(inode);",
        INODE,
    ),
    Edit(
        "hugetlbfs_file_mmap",
        "\tinode_unlock(inode);",
        "\tinode_unlock(inode);\n\tmutex_unlock(&h->resize_lock);",
        INODE,
    ),
    Edit(
        "hugetlbfs_setattr",
        "\t\thugetlb_vmtruncate(inode, newsize);",
        "\t\tmutex_lock(&h->resize_lock);\n\t\thugetlb_vmtruncate(inode, newsize);\n"
        "\t\tmutex_unlock(&h->resize_lock);",
        INODE,
    ),
)

RACES = (
    ("hugetlb: map a file without its lock", NO_LOCK),
    ("hugetlb: keep the reserved count across the lock", KEPT_VALUE),
    ("hugetlb: ask for a free page before the lock", MOVED_CHECK),
)
