"""Which real files of the tree are linked around the hosted ones, and which stay outside.

They absorb the differences between versions: the shim models as little as it can. A file that a
version does not have is left out; where the shim defines a name too, the shim's wins.
"""

from __future__ import annotations

from typing import Final

NEIGHBOURS: Final = """
arch/x86/lib/usercopy_64.c arch/x86/mm/mmap.c arch/x86/mm/pgtable.c
fs/anon_inodes.c fs/attr.c fs/bad_inode.c fs/dcache.c fs/exec.c fs/fcntl.c fs/file.c fs/file_table.c
fs/filesystems.c fs/fs_context.c fs/fs_parser.c fs/fs_struct.c fs/fs_types.c fs/inode.c
fs/libfs.c fs/locks.c fs/mnt_idmapping.c fs/namei.c fs/namespace.c fs/open.c fs/pnode.c
fs/ramfs/inode.c fs/ramfs/file-mmu.c fs/read_write.c fs/seq_file.c fs/stat.c fs/statfs.c fs/super.c
fs/userfaultfd.c fs/utimes.c fs/xattr.c
init/init_task.c
kernel/capability.c kernel/cred.c kernel/groups.c kernel/nsproxy.c kernel/resource.c
kernel/task_work.c kernel/ucount.c kernel/user.c
lib/bitmap-str.c lib/bitmap.c lib/cmdline.c lib/cpumask.c lib/ctype.c lib/dec_and_lock.c lib/errseq.c
lib/find_bit.c lib/flex_proportions.c lib/generic-radix-tree.c lib/hexdump.c lib/hweight.c
lib/idr.c lib/iov_iter.c lib/kasprintf.c lib/kobject.c lib/kstrtox.c lib/list_debug.c lib/list_sort.c
lib/llist.c lib/lockref.c lib/maple_tree.c lib/nodemask.c lib/once.c lib/parser.c
lib/percpu-refcount.c lib/percpu_counter.c lib/radix-tree.c lib/rbtree.c lib/refcount.c
lib/seq_buf.c lib/siphash.c lib/sort.c lib/string.c lib/string_helpers.c
lib/strncpy_from_user.c lib/strnlen_user.c lib/usercopy.c lib/uuid.c lib/vsprintf.c
lib/xarray.c
mm/debug.c mm/filemap.c mm/folio-compat.c mm/gup.c mm/init-mm.c mm/interval_tree.c
mm/list_lru.c mm/madvise.c mm/memfd.c mm/memory.c mm/mempolicy.c mm/migrate.c mm/mlock.c
mm/mmap.c mm/mmap_lock.c mm/mmu_gather.c mm/mmzone.c mm/mprotect.c mm/mremap.c mm/mseal.c mm/msync.c
mm/oom_kill.c mm/page-writeback.c mm/page_alloc.c mm/page_counter.c mm/page_isolation.c
mm/page_vma_mapped.c mm/pagewalk.c mm/pgtable-generic.c mm/rmap.c mm/swap.c mm/truncate.c
mm/userfaultfd.c mm/util.c mm/vma.c mm/vmstat.c
""".split()

#: Functions that appear only as addresses in tables, where a relocation cannot tell a function
#: from data. Named here after a look at their declaration, they get aborting stubs too.
FUNCTIONS_BY_ADDRESS: Final = frozenset(
    """
    proc_dointvec proc_dointvec_minmax proc_douintvec_minmax proc_doulongvec_minmax
    it_real_fn arch_get_unmapped_area arch_get_unmapped_area_topdown simple_dname
    do_no_restart_syscall iter_file_splice_write generic_file_splice_read filemap_splice_read shmem_get_unmapped_area
    default_wake_function wake_bit_function bit_wait bit_wait_io
    """.split()
)
