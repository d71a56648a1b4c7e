# Fidelity: CUSTOM
"""Processes: starting, forking and ending them, and one load or store of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from models.hugetlb.structs import huge_page_mask, huge_page_size
from models.kernel.locks import down_read, up_read
from models.kernel.machine import KernelHang
from models.kernel.port import ported
from models.kernel.structs import VM_EXEC, VM_READ, VM_WRITE
from models.kernel.task import Task
from models.kernel.vmfault import (
    FAULT_FLAG_USER,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_HWPOISON,
    VM_FAULT_HWPOISON_LARGE,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
)

if TYPE_CHECKING:
    from models.hugetlb.fault import hugetlb_fault
    from models.hugetlb.inline import hstate_vma
    from models.kernel.cgroup import cgroup_fork
    from models.kernel.fork import copy_mm, exit_mmap
    from models.kernel.fs import dup_fd, exit_files, task_work_run
    from models.kernel.gup import unpin_user_pages
    from models.kernel.machine import machine
    from models.kernel.mempolicy import mpol_dup, mpol_put
    from models.kernel.mm import vma_is_accessible, vma_lookup
    from models.kernel.pgtable import hugetlb_walk, pte_present
    from models.kernel.structs import PteSlot, VmArea

BUS_ADRERR: Final = 2
BUS_MCEERR_AR: Final = 4
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2

#: Faults that one instruction may take before the model calls it an endless loop.
MAX_FAULTS: Final = 64


class Touch(NamedTuple):
    """What a load or a store came to: the word read or written, or a signal."""

    value: int | None
    signal: str | None = None
    si_code: int | None = None


# ---- beginning and end ----


@ported("kernel/fork.c", "copy_process")
def do_fork(parent: Task, name: str) -> Task | int:
    """Fork ``parent``: the child, or -errno."""
    child = Task(name)
    child.cpu = parent.cpu
    child.mems_allowed = parent.mems_allowed
    child.il_prev = parent.il_prev
    child.il_weight = parent.il_weight
    cgroup_fork(child, parent)
    child.mempolicy = mpol_dup(parent.mempolicy)
    dup_fd(parent, child)
    ret = copy_mm(parent, child)
    if ret:
        # What was copied before goes again; the files have other references.
        exit_files(child)
        mpol_put(child.mempolicy)
        return ret
    child.maps = dict(parent.maps)
    machine.tasks[name] = child
    return child


def exit_pins(task: Task) -> None:
    """A task unregisters its buffers before an orderly exit, the oldest first."""
    for name in list(task.pins):
        unpin_user_pages(task.pins.pop(name).pages)


@ported("kernel/exit.c", "do_exit")
def do_exit(task: Task) -> None:
    """End a process: its memory, then its files, then what these released."""
    machine.current = task
    exit_mmap(task.mm)
    exit_files(task)
    task_work_run()
    task.alive = False
    mpol_put(task.mempolicy)
    task.mempolicy = None
    del machine.tasks[task.name]


# ---- page faults ----


@ported("mm/memory.c", "handle_mm_fault")
def handle_mm_fault(vma: VmArea, address: int, flags: int) -> int:
    """Resolve a fault at ``address`` (bytes): VM_FAULT_* bits."""
    assert vma.vm_mm is not None
    return hugetlb_fault(vma.vm_mm, vma, address, flags)


@ported("arch/x86/mm/fault.c", "access_error")
def access_error(write: bool, present: bool, vma: VmArea) -> bool:
    """Whether the mapping forbids the access; ``present`` says that a page is mapped."""
    if write:
        return not vma.vm_flags & VM_WRITE
    if present:
        return True
    return not vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)


@ported("arch/x86/mm/fault.c", "do_sigbus")
def do_sigbus(fault: int) -> Touch:
    """The signal of a fault that found no page or a poisoned one."""
    if fault & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE):
        return Touch(None, "SIGBUS", BUS_MCEERR_AR)
    return Touch(None, "SIGBUS", BUS_ADRERR)


@ported("arch/x86/mm/fault.c", "do_user_addr_fault")
def do_user_addr_fault(task: Task, address: int, write: bool, present: bool) -> Touch | None:
    """A load or store at ``address`` (bytes) faulted: None to try again, or the signal."""
    mm = task.mm
    flags = FAULT_FLAG_USER | (FAULT_FLAG_WRITE if write else 0)
    down_read(mm.mmap_lock)
    vma = vma_lookup(mm, address)
    if vma is None:
        up_read(mm.mmap_lock)
        return Touch(None, "SIGSEGV", SEGV_MAPERR)
    if access_error(write, present, vma):
        up_read(mm.mmap_lock)
        return Touch(None, "SIGSEGV", SEGV_ACCERR)
    fault = handle_mm_fault(vma, address, flags)
    up_read(mm.mmap_lock)
    if not fault & VM_FAULT_ERROR:
        return None
    if fault & VM_FAULT_OOM:
        # pagefault_out_of_memory() does nothing but let the instruction be tried again.
        return None
    if fault & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE):
        return do_sigbus(fault)
    return Touch(None, "SIGSEGV", SEGV_MAPERR)


def walk_hardware(task: Task, address: int) -> PteSlot | None:
    """The slot that the processor finds for ``address`` (bytes); None where it faults.

    An entry of a mapping without any right is not present to the processor.
    """
    vma = vma_lookup(task.mm, address)
    if vma is None or not vma_is_accessible(vma):
        return None
    h = hstate_vma(vma)
    slot = hugetlb_walk(vma, address & huge_page_mask(h), huge_page_size(h))
    return slot if slot is not None and pte_present(slot.pte) else None


def touch(task: Task, address: int, write: bool, value: int) -> Touch:
    """One 8-byte load or store of the task at ``address`` (bytes); a store writes ``value``.

    Raises:
        KernelHang: faults on the address never come to an end.
    """
    for _ in range(MAX_FAULTS):
        slot = walk_hardware(task, address)
        if slot is not None:
            pte = slot.pte
            folio = pte.folio
            assert folio is not None
            if not write:
                return Touch(folio.data)
            if pte.write:
                if not pte.dirty:
                    slot.pte = pte._replace(dirty=True)
                folio.data = value
                return Touch(value)
        signal = do_user_addr_fault(task, address, write, slot is not None)
        if signal is not None:
            return signal
    msg = f"touch: still faulting after {MAX_FAULTS} faults"
    raise KernelHang(msg)
