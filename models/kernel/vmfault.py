# Fidelity: DUP
"""struct vm_fault, its flags and results, and the short functions around it (mm_types.h, mm.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.kernel.errno import ENOMEM
from models.kernel.machine import Unmodelled
from models.kernel.port import ported
from models.kernel.structs import (
    PTE_NONE,
    VM_UFFD_MINOR,
    VM_UFFD_MISSING,
    VM_UFFD_WP,
    Pte,
)

if TYPE_CHECKING:
    from models.kernel.locks import Lock
    from models.kernel.rmap import anon_vma_prepare
    from models.kernel.structs import PteSlot, VmArea

FAULT_FLAG_WRITE: Final = 0x1
FAULT_FLAG_USER: Final = 0x40
FAULT_FLAG_UNSHARE: Final = 0x400

VM_FAULT_OOM: Final = 0x1
VM_FAULT_SIGBUS: Final = 0x2
VM_FAULT_HWPOISON: Final = 0x10
VM_FAULT_HWPOISON_LARGE: Final = 0x20
VM_FAULT_SIGSEGV: Final = 0x40
VM_FAULT_RETRY: Final = 0x400
VM_FAULT_ERROR: Final = (
    VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV | VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE
)

#: Bit of ``VmArea.uffd`` contexts: SIGBUS instead of a message to a handler.
UFFD_FEATURE_SIGBUS: Final = 1 << 7


class VmFault:
    """struct vm_fault: ``address`` and ``real_address`` in bytes, ``pgoff`` in huge pages."""

    __slots__ = ("address", "flags", "orig_pte", "pgoff", "pte", "ptl", "real_address", "vma")

    pte: PteSlot
    ptl: Lock

    def __init__(
        self, vma: VmArea, address: int, real_address: int, flags: int, pgoff: int
    ) -> None:
        self.vma = vma
        self.address = address
        self.real_address = real_address
        self.flags = flags
        self.pgoff = pgoff
        self.orig_pte: Pte = PTE_NONE


@ported("include/linux/mm.h", "VM_FAULT_SET_HINDEX")
def VM_FAULT_SET_HINDEX(hindex: int) -> int:
    """The result's bits that name an hstate by its index."""
    return hindex << 16


@ported("include/linux/mm.h", "vmf_error")
def vmf_error(err: int) -> int:
    """The result for a negative errno: VM_FAULT_OOM for -ENOMEM, else VM_FAULT_SIGBUS."""
    if err == -ENOMEM:
        return VM_FAULT_OOM
    return VM_FAULT_SIGBUS


@ported("mm/memory.c", "__vmf_anon_prepare")
def _vmf_anon_prepare(vmf: VmFault) -> int:
    """Give the vma an anon_vma: 0 or VM_FAULT_OOM.

    The attempt to do without mmap_lock (VM_FAULT_RETRY) is left out: faults hold it.
    """
    vma = vmf.vma
    if vma.anon_vma is not None:
        return 0
    if anon_vma_prepare(vma):
        return VM_FAULT_OOM
    return 0


@ported("include/linux/userfaultfd_k.h", "userfaultfd_missing")
def userfaultfd_missing(vma: VmArea) -> bool:
    """Whether userfaultfd wants to hear of pages that are missing."""
    return vma.vm_flags & VM_UFFD_MISSING != 0


@ported("include/linux/userfaultfd_k.h", "userfaultfd_minor")
def userfaultfd_minor(vma: VmArea) -> bool:
    """Whether userfaultfd wants to hear of pages that are cached but not mapped."""
    return vma.vm_flags & VM_UFFD_MINOR != 0


@ported("include/linux/userfaultfd_k.h", "userfaultfd_wp")
def userfaultfd_wp(vma: VmArea) -> bool:
    """Whether userfaultfd wants to hear of writes to protected pages."""
    return vma.vm_flags & VM_UFFD_WP != 0


@ported("include/linux/userfaultfd_k.h", "uffd_disable_huge_pmd_share")
def uffd_disable_huge_pmd_share(vma: VmArea) -> bool:
    """Whether userfaultfd must see each process's entries for themselves."""
    return vma.vm_flags & (VM_UFFD_WP | VM_UFFD_MINOR) != 0


@ported("include/linux/userfaultfd_k.h", "userfaultfd_wp_async")
def userfaultfd_wp_async(vma: VmArea) -> bool:
    """Whether the kernel resolves write protection by itself: contexts here never ask for that."""
    return False


@ported("fs/userfaultfd.c", "handle_userfault")
def handle_userfault(vmf: VmFault, reason: int) -> int:
    """What a fault in a registered range comes to.

    Contexts of UFFD_FEATURE_SIGBUS answer with SIGBUS.

    Raises:
        Unmodelled: another context; the task would sleep until its handler answers.
    """
    ctx = vmf.vma.uffd
    if ctx is not None and ctx.features & UFFD_FEATURE_SIGBUS:
        return VM_FAULT_SIGBUS
    msg = "a fault waits for its userfaultfd handler"
    raise Unmodelled(msg)
