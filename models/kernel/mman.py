# Fidelity: DUP
"""Numbers that user space gives mmap(2), madvise(2), mremap(2) and relatives."""

from __future__ import annotations

from typing import Final

PROT_NONE: Final = 0x0
PROT_READ: Final = 0x1
PROT_WRITE: Final = 0x2
PROT_EXEC: Final = 0x4

MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_NONBLOCK: Final = 0x10000
MAP_HUGETLB: Final = 0x40000
MAP_FIXED_NOREPLACE: Final = 0x100000
MAP_HUGE_SHIFT: Final = 26
MAP_HUGE_MASK: Final = 0x3F

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4

MADV_DONTNEED: Final = 4
MADV_FREE: Final = 8
MADV_REMOVE: Final = 9
MADV_DONTFORK: Final = 10
MADV_DOFORK: Final = 11
MADV_WIPEONFORK: Final = 18
MADV_KEEPONFORK: Final = 19
MADV_POPULATE_READ: Final = 22
MADV_POPULATE_WRITE: Final = 23
