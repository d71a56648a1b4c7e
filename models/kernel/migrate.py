# Fidelity: DUP
"""Migrating huge pages between nodes (mm/migrate.c, mm/rmap.c, mm/mempolicy.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from models.hugetlb.hstate import MR_SYSCALL
from models.hugetlb.structs import MAX_NUMNODES, huge_page_size
from models.kernel.errno import EAGAIN, EBUSY, EHWPOISON, EINVAL, ENOMEM
from models.kernel.gfp import _GFP_THISNODE, GFP_HIGHUSER_MOVABLE
from models.kernel.lists import (
    ListHead,
    list_empty,
    list_entries,
    list_move_tail,
    list_splice_init,
)
from models.kernel.locks import (
    down_read,
    down_write_trylock,
    spin_lock,
    spin_unlock,
    up_read,
)
from models.kernel.machine import KernelDeadlock, bug_on, inject
from models.kernel.pgtable import HWPOISON, MIGRATION, MIGRATION_EXCLUSIVE
from models.kernel.port import ported
from models.kernel.rmap import RMAP_EXCLUSIVE, RMAP_NONE
from models.kernel.structs import NUMA_NO_NODE, PAGE_SHIFT, AnonVma, Pte

if TYPE_CHECKING:
    from models.hugetlb.hstate import (
        htlb_allow_alloc_fallback,
        htlb_modify_alloc_mask,
        hugepage_migration_supported,
    )
    from models.hugetlb.inline import folio_hstate, hstate_vma, hugetlb_count_sub
    from models.hugetlb.migrate import (
        folio_expected_ref_count,
        folio_migrate_flags,
        folio_putback_active_hugetlb,
        hugetlbfs_migrate_folio,
        isolate_hugetlb,
        move_hugetlb_state,
    )
    from models.hugetlb.surplus import alloc_hugetlb_folio_nodemask
    from models.hugetlb.vma_resv import (
        hugetlb_vma_assert_locked,
        hugetlb_vma_lock_read,
        hugetlb_vma_trylock_write,
        hugetlb_vma_unlock_read,
        hugetlb_vma_unlock_write,
    )
    from models.kernel.machine import machine
    from models.kernel.mempolicy import nodes_remap
    from models.kernel.mprotect import vma_page_prot_write
    from models.kernel.nodes import (
        cpuset_current_mems_allowed,
        first_node,
        node_isset,
        nodes_weight,
    )
    from models.kernel.page import (
        folio_get,
        folio_lock,
        folio_mapped,
        folio_mapping,
        folio_mark_dirty,
        folio_nid,
        folio_nr_pages,
        folio_put,
        folio_test_anon,
        folio_test_locked,
        folio_trylock,
        folio_unlock,
        hugetlb_folio_subpool,
    )
    from models.kernel.pgtable import (
        huge_pte_lock,
        huge_pte_lockptr,
        huge_ptep_clear_flush,
        huge_ptep_get,
        hugetlb_walk,
        is_hugetlb_entry_migration,
        pte_present,
        set_huge_pte_at,
    )
    from models.kernel.rmap import (
        hugetlb_add_anon_rmap,
        hugetlb_add_file_rmap,
        hugetlb_remove_rmap,
        hugetlb_try_share_anon_rmap,
        i_mmap_lock_read,
        i_mmap_unlock_read,
        i_mmap_unlock_write,
        vma_interval_tree_foreach,
    )
    from models.kernel.structs import MM, AddressSpace, Folio, PteSlot, VmArea

NR_MAX_MIGRATE_PAGES_RETRY: Final = 10


class MigrationTarget(NamedTuple):
    """struct migration_target_control: where to, with which flags, and why."""

    nid: int
    gfp_mask: int
    reason: int


# ---- the places that map a folio ----


@ported("mm/internal.h", "vma_address")
def vma_address(vma: VmArea, pgoff: int) -> int:
    """Address (bytes) in the vma of base page ``pgoff`` of what it maps."""
    return vma.vm_start + ((pgoff - vma.vm_pgoff) << PAGE_SHIFT)


@ported("mm/rmap.c", "rmap_walk")
def rmap_vmas(folio: Folio) -> list[VmArea]:
    """The vmas that may map the folio, in the order in which the kernel walks them."""
    start = folio.index
    last = start + folio_nr_pages(folio) - 1
    mapping = folio.mapping
    if mapping is None:
        return []
    if not isinstance(mapping, AnonVma):
        return vma_interval_tree_foreach(mapping, start, last)
    found = [
        vma
        for vma in mapping.vmas
        if vma.vm_pgoff <= last
        and start < vma.vm_pgoff + ((vma.vm_end - vma.vm_start) >> PAGE_SHIFT)
    ]
    found.sort(key=vma_pgoff)
    return found


def vma_pgoff(vma: VmArea) -> int:
    """Where a vma starts in what it maps, in base pages: the order of a walk."""
    return vma.vm_pgoff


# ---- unmapping for a migration ----


@ported("mm/rmap.c", "try_to_migrate_one")
def try_to_migrate_one(folio: Folio, vma: VmArea, address: int, rmap_locked: bool) -> bool:
    """Put a migration entry in the folio's place at ``address`` (bytes); whether to go on."""
    mm = vma.vm_mm
    assert mm is not None
    h = hstate_vma(vma)
    hsz = huge_page_size(h)

    slot = hugetlb_walk(vma, address, hsz)
    if slot is None:
        return True
    ptl = huge_pte_lock(h, mm, slot)
    pte = huge_ptep_get(mm, address, slot)
    if not pte_present(pte) or pte.folio is not folio:
        spin_unlock(ptl)
        return True

    anon = folio_test_anon(folio)
    anon_exclusive = anon and folio.anon_exclusive
    if not anon:
        # Under the vma lock a table could be unshared.
        bug_on(not rmap_locked, "try_to_migrate_one: !(flags & TTU_RMAP_LOCKED)")
        if not hugetlb_vma_trylock_write(vma):
            spin_unlock(ptl)
            return False
        hugetlb_vma_unlock_write(vma)
    pteval = huge_ptep_clear_flush(vma, address, slot)

    if pteval.dirty:
        folio_mark_dirty(folio)

    if folio.hwpoison:
        hugetlb_count_sub(folio_nr_pages(folio), mm)
        set_huge_pte_at(mm, address, slot, Pte(special=HWPOISON), hsz)
    else:
        bug_on(
            pteval.write and anon and not anon_exclusive,
            "try_to_migrate_one: pte_write(pteval) && folio_test_anon(folio) && !anon_exclusive",
        )
        if anon_exclusive and hugetlb_try_share_anon_rmap(folio):
            set_huge_pte_at(mm, address, slot, pteval, hsz)
            spin_unlock(ptl)
            return False
        special = MIGRATION_EXCLUSIVE if anon_exclusive and not pteval.write else MIGRATION
        entry = Pte(folio, pteval.write, pteval.dirty, pteval.young, pteval.uffd_wp, special)
        set_huge_pte_at(mm, address, slot, entry, hsz)

    hugetlb_remove_rmap(folio)
    folio_put(folio)
    spin_unlock(ptl)
    return True


@ported("mm/rmap.c", "try_to_migrate")
def try_to_migrate(folio: Folio, rmap_locked: bool) -> None:
    """Put migration entries in all places of a locked folio."""
    for vma in rmap_vmas(folio):
        if not try_to_migrate_one(folio, vma, vma_address(vma, folio.index), rmap_locked):
            break
        if not folio_mapped(folio):
            break


@ported("mm/migrate.c", "remove_migration_pte")
def remove_migration_pte(dst: Folio, vma: VmArea, address: int, src: Folio) -> None:
    """Map ``dst`` where a migration entry of ``src`` is, at ``address`` (bytes)."""
    mm = vma.vm_mm
    assert mm is not None
    h = hstate_vma(vma)
    psize = huge_page_size(h)

    slot = hugetlb_walk(vma, address, psize)
    if slot is None:
        return
    ptl = huge_pte_lock(h, mm, slot)
    old_pte = huge_ptep_get(mm, address, slot)
    if not is_hugetlb_entry_migration(old_pte) or old_pte.folio is not src:
        spin_unlock(ptl)
        return

    folio_get(dst)
    # A shared mapping gets its right to write back even where the entry was read-only.
    write = vma_page_prot_write(vma) or old_pte.write
    pte = Pte(
        dst,
        write,
        dst.dirty and old_pte.dirty,
        old_pte.young,
        old_pte.uffd_wp and not old_pte.write,
    )
    rmap_flags = RMAP_NONE
    if folio_test_anon(dst) and (old_pte.write or old_pte.special == MIGRATION_EXCLUSIVE):
        rmap_flags |= RMAP_EXCLUSIVE
    if folio_test_anon(dst):
        hugetlb_add_anon_rmap(dst, vma, address, rmap_flags)
    else:
        hugetlb_add_file_rmap(dst)
    set_huge_pte_at(mm, address, slot, pte, psize)
    spin_unlock(ptl)


@ported("mm/migrate.c", "remove_migration_ptes")
def remove_migration_ptes(src: Folio, dst: Folio, locked: bool) -> None:
    """Map ``dst`` wherever a migration entry of ``src`` is."""
    mapping = folio_mapping(dst)
    if not locked and mapping is not None:
        i_mmap_lock_read(mapping)
    for vma in rmap_vmas(dst):
        remove_migration_pte(dst, vma, vma_address(vma, dst.index), src)
    if not locked and mapping is not None:
        i_mmap_unlock_read(mapping)


@ported("mm/migrate.c", "migration_entry_wait_huge")
def migration_entry_wait_huge(vma: VmArea, addr: int, ptep: PteSlot) -> None:
    """Wait until a migration is done; releases the vma lock that the caller holds.

    Raises:
        KernelDeadlock: nobody else can finish the migration.
    """
    mm = vma.vm_mm
    assert mm is not None
    ptl = huge_pte_lockptr(hstate_vma(vma), mm, ptep)

    hugetlb_vma_assert_locked(vma)
    spin_lock(ptl)
    pte = huge_ptep_get(mm, addr, ptep)
    spin_unlock(ptl)
    hugetlb_vma_unlock_read(vma)
    if is_hugetlb_entry_migration(pte):
        folio = pte.folio
        assert folio is not None
        if folio_test_locked(folio):
            hook = machine.lock_hook
            if hook is None:
                msg = "migration_entry_wait_huge: nobody migrates"
                raise KernelDeadlock(msg)
            hook("wait", folio)


# ---- moving ----


@ported("mm/util.c", "folio_mc_copy")
def folio_mc_copy(dst: Folio, src: Folio) -> int:
    """Copy the contents: 0, or -EHWPOISON when reading ``src`` hits a memory error."""
    if inject("copy_page"):
        return -EHWPOISON
    dst.data = src.data
    return 0


@ported("mm/migrate.c", "migrate_folio")
def migrate_folio(dst: Folio, src: Folio) -> int:
    """Move an anonymous folio's identity and contents to ``dst``: 0 or -errno."""
    if src.refcount != folio_expected_ref_count(src) + 1:
        return -EAGAIN
    rc = folio_mc_copy(dst, src)
    if rc:
        return rc
    dst.index = src.index
    dst.mapping = src.mapping
    folio_migrate_flags(dst, src)
    return 0


@ported("mm/migrate.c", "move_to_new_folio")
def move_to_new_folio(dst: Folio, src: Folio) -> int:
    """Move contents and identity of a folio that nothing maps: 0 or -errno."""
    mapping = folio_mapping(src)

    bug_on(not src.locked, "move_to_new_folio: !folio_test_locked(src)")
    bug_on(not dst.locked, "move_to_new_folio: !folio_test_locked(dst)")

    if mapping is None:
        rc = migrate_folio(dst, src)
    else:
        rc = hugetlbfs_migrate_folio(mapping, dst, src)
    # An anonymous folio stays anonymous until it is freed.
    if rc == 0 and not folio_test_anon(src):
        src.mapping = None
    return rc


@ported("mm/hugetlb.c", "hugetlb_folio_mapping_lock_write")
def hugetlb_folio_mapping_lock_write(folio: Folio) -> AddressSpace | None:
    """Lock the list of vmas of the folio's file without waiting; None if that fails."""
    mapping = folio_mapping(folio)
    if mapping is None:
        return None
    return mapping if down_write_trylock(mapping.i_mmap_rwsem) else None


@ported("mm/migrate.c", "alloc_migration_target")
def alloc_migration_target(src: Folio, mtc: MigrationTarget) -> Folio | None:
    """A folio to migrate ``src`` to, or None."""
    nid = folio_nid(src) if mtc.nid == NUMA_NO_NODE else mtc.nid
    h = folio_hstate(src)
    gfp_mask = htlb_modify_alloc_mask(h, mtc.gfp_mask)
    return alloc_hugetlb_folio_nodemask(
        h, nid, None, gfp_mask, htlb_allow_alloc_fallback(mtc.reason)
    )


@ported("mm/migrate.c", "unmap_and_move_huge_page")
def unmap_and_move_huge_page(
    mtc: MigrationTarget, src: Folio, force: bool, ret: ListHead[Folio]
) -> int:
    """Migrate one isolated folio: 0 or -errno; what failed for good goes onto ``ret``.

    ``force`` waits for the folio's lock.
    """
    rc = -EAGAIN
    page_was_mapped = False
    mapping: AddressSpace | None = None
    rmap_locked = False

    if src.refcount == 1:
        # It was freed meanwhile.
        folio_putback_active_hugetlb(src)
        return 0

    dst = alloc_migration_target(src, mtc)
    if dst is None:
        return -ENOMEM

    locked = folio_trylock(src)
    if not locked and force:
        folio_lock(src)
        locked = True
    if locked:
        # A folio of a subpool that is in no page cache: an anonymous one, or one being freed.
        if hugetlb_folio_subpool(src) and folio_mapping(src) is None:
            rc = -EBUSY
        else:
            if folio_trylock(dst):
                go = True
                if folio_mapped(src):
                    if not folio_test_anon(src):
                        mapping = hugetlb_folio_mapping_lock_write(src)
                        if mapping is None:
                            go = False
                        else:
                            rmap_locked = True
                    if go:
                        try_to_migrate(src, rmap_locked)
                        page_was_mapped = True
                if go:
                    if not folio_mapped(src):
                        rc = move_to_new_folio(dst, src)
                    if page_was_mapped:
                        remove_migration_ptes(src, dst if rc == 0 else src, rmap_locked)
                    if rmap_locked:
                        assert mapping is not None
                        i_mmap_unlock_write(mapping)
                folio_unlock(dst)
            if rc == 0:
                move_hugetlb_state(src, dst, mtc.reason)
        folio_unlock(src)

    if rc == 0:
        folio_putback_active_hugetlb(src)
    elif rc != -EAGAIN:
        list_move_tail(src.lru, ret)

    # No migration here has a callback to free the target: this drops its reference.
    folio_putback_active_hugetlb(dst)
    return rc


@ported("mm/migrate.c", "migrate_hugetlbs")
def migrate_hugetlbs(
    from_: ListHead[Folio], mtc: MigrationTarget, ret_folios: ListHead[Folio]
) -> int:
    """Migrate the folios of a list, several times if need be: how many failed, or -ENOMEM."""
    retry = 1
    nr_failed = 0
    tries = 0

    while tries < NR_MAX_MIGRATE_PAGES_RETRY and retry:
        retry = 0
        for folio in list_entries(from_):
            if not hugepage_migration_supported(folio_hstate(folio)):
                nr_failed += 1
                list_move_tail(folio.lru, ret_folios)
                continue
            rc = unmap_and_move_huge_page(mtc, folio, tries > 2, ret_folios)
            if rc == -ENOMEM:
                return -ENOMEM
            if rc == -EAGAIN:
                retry += 1
            elif rc:
                nr_failed += 1
        tries += 1
    return nr_failed + retry


@ported("mm/migrate.c", "migrate_pages")
def migrate_pages(from_: ListHead[Folio], mtc: MigrationTarget) -> int:
    """Migrate isolated folios: how many were not, which are on ``from_`` then, or -errno."""
    ret_folios: ListHead[Folio] = ListHead()
    rc_gather = migrate_hugetlbs(from_, mtc, ret_folios)
    if rc_gather >= 0:
        for folio in list_entries(from_):
            list_move_tail(folio.lru, ret_folios)
    list_splice_init(ret_folios, from_)
    return rc_gather


@ported("mm/migrate.c", "putback_movable_pages")
def putback_movable_pages(movable: ListHead[Folio]) -> None:
    """Put isolated folios back."""
    for folio in list_entries(movable):
        folio_putback_active_hugetlb(folio)


# ---- migrate_pages(2) ----


@ported("mm/mempolicy.c", "queue_folios_hugetlb")
def queue_folios_hugetlb(
    slot: PteSlot, address: int, vma: VmArea, source: int, pagelist: ListHead[Folio]
) -> int:
    """Isolate the folio mapped at ``address`` (bytes) if it is on ``source``: failures, 0 or 1."""
    failed = 0
    h = hstate_vma(vma)
    assert vma.vm_mm is not None
    ptl = huge_pte_lock(h, vma.vm_mm, slot)
    entry = huge_ptep_get(vma.vm_mm, address, slot)
    if not pte_present(entry):
        if is_hugetlb_entry_migration(entry):
            failed = 1
    else:
        folio = entry.folio
        assert folio is not None
        if folio_nid(folio) == source and (
            not hugepage_migration_supported(h) or not isolate_hugetlb(folio, pagelist)
        ):
            failed = 1
    spin_unlock(ptl)
    return failed


@ported("mm/mempolicy.c", "migrate_to_node")
def migrate_to_node(mm: MM, source: int, dest: int) -> int:
    """Migrate all folios of an address space from one node to another: how many failed, or -errno.

    As root: also folios that other processes map.
    """
    pagelist: ListHead[Folio] = ListHead()
    nr_failed = 0
    err = 0

    down_read(mm.mmap_lock)
    for vma in mm.vmas:
        if not hugepage_migration_supported(hstate_vma(vma)):
            continue
        sz = huge_page_size(hstate_vma(vma))
        hugetlb_vma_lock_read(vma)
        for address in range(vma.vm_start, vma.vm_end, sz):
            slot = hugetlb_walk(vma, address, sz)
            if slot is not None:
                nr_failed += queue_folios_hugetlb(slot, address, vma, source, pagelist)
        hugetlb_vma_unlock_read(vma)
    up_read(mm.mmap_lock)

    if not list_empty(pagelist):
        mtc = MigrationTarget(dest, GFP_HIGHUSER_MOVABLE | _GFP_THISNODE, MR_SYSCALL)
        err = migrate_pages(pagelist, mtc)
        if err:
            putback_movable_pages(pagelist)

    if err >= 0:
        err += nr_failed
    return err


@ported("mm/mempolicy.c", "do_migrate_pages")
def do_migrate_pages(mm: MM, from_: int, to: int) -> int:
    """Migrate between two sets of nodes (bit masks): how many failed, or -errno."""
    nr_failed = 0
    tmp = from_
    while tmp:
        source = NUMA_NO_NODE
        dest = 0
        for s in range(MAX_NUMNODES):
            if not node_isset(s, tmp):
                continue
            # With sets of different sizes, folios stay that are where others shall go.
            if nodes_weight(from_) != nodes_weight(to) and node_isset(s, to):
                continue
            d = first_node(nodes_remap(1 << s, from_, to))
            if s == d:
                continue
            source = s
            dest = d
            if not node_isset(dest, tmp):
                break
        if source == NUMA_NO_NODE:
            break
        tmp &= ~(1 << source)
        err = migrate_to_node(mm, source, dest)
        if err < 0:
            return err
        nr_failed += err
    return nr_failed


@ported("mm/mempolicy.c", "kernel_migrate_pages")
def kernel_migrate_pages(old: int, new: int) -> int:
    """migrate_pages(2) of the running task itself, as root: how many folios failed, or -errno.

    ``old`` and ``new`` are bit masks of nodes.
    """
    assert machine.current is not None
    if old >> MAX_NUMNODES or new >> MAX_NUMNODES:
        return -EINVAL
    new &= cpuset_current_mems_allowed()
    if not new:
        return -EINVAL
    return do_migrate_pages(machine.current.mm, old, new)
