# Fidelity: DUP
"""Setting memory policies: set_mempolicy(2), mbind(2), set_mempolicy_home_node(2)
(mm/mempolicy.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.hugetlb.structs import MAX_NUMNODES
from models.kernel.errno import EFAULT, EINVAL, ENOENT, EOPNOTSUPP, IS_ERR
from models.kernel.locks import down_write, up_write
from models.kernel.machine import Unmodelled
from models.kernel.mempolicy import (
    MPOL_BIND,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    MPOL_INTERLEAVE,
    MPOL_MAX,
    MPOL_MF_STRICT,
    MPOL_MF_VALID,
    MPOL_MODE_FLAGS,
    MPOL_PREFERRED_MANY,
    MPOL_WEIGHTED_INTERLEAVE,
    MemPolicy,
)
from models.kernel.nodes import N_ONLINE, node_isset
from models.kernel.port import ported
from models.kernel.structs import PAGE_SIZE, VmArea

if TYPE_CHECKING:
    from models.kernel.machine import machine
    from models.kernel.mempolicy import mpol_dup, mpol_equal, mpol_new, mpol_put, mpol_set_nodemask
    from models.kernel.mm import find_vma, split_vma
    from models.kernel.nodes import node_states
    from models.kernel.structs import MM


@ported("mm/mempolicy.c", "do_set_mempolicy")
def do_set_mempolicy(mode: int, flags: int, nodes: int) -> int:
    """Set the running task's policy: 0 or -EINVAL."""
    current = machine.current
    assert current is not None
    new = mpol_new(mode, flags, nodes)
    if IS_ERR(new):
        return new
    ret = mpol_set_nodemask(new, nodes)
    if ret:
        mpol_put(new)
        return ret
    old = current.mempolicy
    current.mempolicy = new
    if new is not None and new.mode in (MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE):
        current.il_prev = MAX_NUMNODES - 1
        current.il_weight = 0
    mpol_put(old)
    return 0


@ported("mm/mempolicy.c", "sanitize_mpol_flags")
def sanitize_mpol_flags(mode: int) -> tuple[int, int] | int:
    """Split what user space passes into mode and mode flags, or -EINVAL."""
    flags = mode & MPOL_MODE_FLAGS
    mode &= ~MPOL_MODE_FLAGS
    if not 0 <= mode < MPOL_MAX:
        return -EINVAL
    if flags & MPOL_F_STATIC_NODES and flags & MPOL_F_RELATIVE_NODES:
        return -EINVAL
    return mode, flags


@ported("mm/mempolicy.c", "kernel_set_mempolicy")
def kernel_set_mempolicy(mode: int, nodes: int) -> int:
    """set_mempolicy(2) of the running task: 0 or -EINVAL."""
    sane = sanitize_mpol_flags(mode)
    if IS_ERR(sane):
        return sane
    return do_set_mempolicy(sane[0], sane[1], nodes)


@ported("mm/mempolicy.c", "kernel_mbind")
def kernel_mbind(start: int, length: int, mode: int, nodes: int, flags: int) -> int:
    """mbind(2) of the running task; ``start`` and ``length`` in bytes: 0, -EINVAL, -EFAULT or
    -ENOMEM."""
    sane = sanitize_mpol_flags(mode)
    if IS_ERR(sane):
        return sane
    return do_mbind(start, length, sane[0], sane[1], nodes, flags)


@ported("mm/mempolicy.c", "queue_pages_range")
def queue_pages_range(mm: MM, start: int, end: int, discontig_ok: bool) -> int:
    """0 if the vmas of the range (bytes) leave no hole, or holes are allowed, else -EFAULT."""
    first: VmArea | None = None
    for vma in mm.vmas:
        if vma.vm_end <= start or vma.vm_start >= end:
            continue
        if first is None:
            first = vma
            if not discontig_ok and start < vma.vm_start:
                return -EFAULT
        following = find_vma(mm, vma.vm_end)
        if (
            not discontig_ok
            and vma.vm_end < end
            and (following is None or vma.vm_end < following.vm_start)
        ):
            return -EFAULT
    if first is None:
        return -EFAULT
    return 0


@ported("mm/mempolicy.c", "do_mbind")
def do_mbind(start: int, length: int, mode: int, mode_flags: int, nmask: int, flags: int) -> int:
    """Set the policy of a range (bytes), splitting vmas at its ends: 0 or -errno.

    Raises:
        Unmodelled: MPOL_MF_MOVE and MPOL_MF_STRICT, which are about pages that are there already.
    """
    current = machine.current
    assert current is not None
    mm = current.mm
    if flags & ~MPOL_MF_VALID:
        return -EINVAL
    if start & (PAGE_SIZE - 1):
        return -EINVAL
    if mode == MPOL_DEFAULT:
        flags &= ~MPOL_MF_STRICT
    length = -(-length // PAGE_SIZE) * PAGE_SIZE
    end = start + length
    if end < start:
        return -EINVAL
    if end == start:
        return 0
    new = mpol_new(mode, mode_flags, nmask)
    if IS_ERR(new):
        return new
    down_write(mm.mmap_lock)
    err = mpol_set_nodemask(new, nmask)
    if err:
        up_write(mm.mmap_lock)
        mpol_put(new)
        return err
    if flags:
        msg = "do_mbind: pages that are there already (MPOL_MF_STRICT, MPOL_MF_MOVE)"
        raise Unmodelled(msg)
    err = queue_pages_range(mm, start, end, new is None)
    if not err:
        for vma in list(mm.vmas):
            if vma.vm_end <= start or vma.vm_start >= end:
                continue
            err = mbind_range(vma, start, end, new)
            if err:
                break
    up_write(mm.mmap_lock)
    mpol_put(new)
    return err


@ported("mm/mempolicy.c", "mbind_range")
def mbind_range(vma: VmArea, start: int, end: int, new_pol: MemPolicy | None) -> int:
    """Set the policy of the part of a vma that lies in the range (bytes): 0 or -errno."""
    vmend = min(end, vma.vm_end)
    vmstart = max(start, vma.vm_start)
    if mpol_equal(vma.vm_policy, new_pol):
        return 0
    err = vma_modify_policy(vma, vmstart, vmend)
    if err:
        return err
    return vma_replace_policy(vma, new_pol)


@ported("mm/vma.c", "vma_modify_policy")
def vma_modify_policy(vma: VmArea, start: int, end: int) -> int:
    """Cut a vma down to the range (bytes): 0 or -errno.

    hugetlbfs sets VM_DONTEXPAND, so that its vmas never merge.
    """
    mm = vma.vm_mm
    assert mm is not None
    if vma.vm_start < start:
        err = split_vma(mm, vma, start, True)
        if err:
            return err
    if vma.vm_end > end:
        err = split_vma(mm, vma, end, False)
        if err:
            return err
    return 0


@ported("mm/mempolicy.c", "vma_replace_policy")
def vma_replace_policy(vma: VmArea, pol: MemPolicy | None) -> int:
    """Give a vma a copy of a policy; returns 0."""
    new = mpol_dup(pol)
    old = vma.vm_policy
    vma.vm_policy = new
    mpol_put(old)
    return 0


@ported("mm/mempolicy.c", "set_mempolicy_home_node")
def set_mempolicy_home_node(start: int, length: int, home_node: int, flags: int) -> int:
    """set_mempolicy_home_node(2) of the running task; ``start`` and ``length`` in bytes: 0 or
    -errno."""
    current = machine.current
    assert current is not None
    mm = current.mm
    err = -ENOENT
    if start & (PAGE_SIZE - 1):
        return -EINVAL
    if flags != 0:
        return -EINVAL
    if home_node >= MAX_NUMNODES or not node_isset(home_node, node_states[N_ONLINE]):
        return -EINVAL
    length = -(-length // PAGE_SIZE) * PAGE_SIZE
    end = start + length
    if end < start:
        return -EINVAL
    if end == start:
        return 0
    down_write(mm.mmap_lock)
    for vma in list(mm.vmas):
        if vma.vm_end <= start or vma.vm_start >= end:
            continue
        old = vma.vm_policy
        if old is None:
            continue
        if old.mode not in (MPOL_BIND, MPOL_PREFERRED_MANY):
            err = -EOPNOTSUPP
            break
        new = mpol_dup(old)
        assert new is not None
        new.home_node = home_node
        err = mbind_range(vma, start, end, new)
        mpol_put(new)
        if err:
            break
    up_write(mm.mmap_lock)
    return err
