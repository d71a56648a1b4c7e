/* Fidelity: CUSTOM
 * Runs an encoded trace through the kernel's public entry points. */
#include "driver.h"
#include <linux/sched/mm.h>
#include <linux/hugetlb.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/mempolicy.h>
#include <linux/memfd.h>
#include <uapi/linux/memfd.h>
#include <linux/init.h>
#include <linux/user_namespace.h>
#include <linux/syscalls.h>
#include <linux/falloc.h>
#include <linux/rmap.h>
#include <linux/shm.h>
#include <uapi/linux/shm.h>
#include <linux/ipc_namespace.h>
#include <linux/shm.h>
#include <linux/ipc_namespace.h>
#include <asm/ptrace.h>
#include <asm/processor.h>

struct nh_proc nh_procs[PROCS];
struct nh_mount nh_mounts[MOUNTS];
static struct nh_shm shms[SHMS];
bool nh_cgroup_named[CGROUPS];
struct nh_result *nh_result;

/* System calls by their one stable entry: the register block. */
#define SYSCALL(name) extern long __x64_sys_##name(const struct pt_regs *regs)
SYSCALL(munmap);
SYSCALL(mremap);
SYSCALL(mprotect);
SYSCALL(madvise);
SYSCALL(mbind);
SYSCALL(set_mempolicy);
SYSCALL(migrate_pages);
SYSCALL(openat);
SYSCALL(close);
SYSCALL(ftruncate);
SYSCALL(fallocate);
SYSCALL(unlink);
SYSCALL(mkdir);
SYSCALL(mount);
SYSCALL(umount);
SYSCALL(memfd_create);
SYSCALL(shmget);
SYSCALL(shmat);
SYSCALL(shmctl);

static long call(long (*entry)(const struct pt_regs *), unsigned long a, unsigned long b,
		 unsigned long c, unsigned long d, unsigned long e, unsigned long f)
{
	struct pt_regs regs = { .di = a, .si = b, .dx = c, .r10 = d, .r8 = e, .r9 = f };

	return entry(&regs);
}

#define REFUSE                                                                                     \
	do {                                                                                       \
		nh_result->ending = NH_REFUSED;                                                       \
		return -ESRCH;                                                                     \
	} while (0)

static struct nh_proc *proc_at(s64 index)
{
	if (index < 0 || index >= PROCS || !nh_procs[index].task)
		return NULL;
	return &nh_procs[index];
}
/* A mapping by its name; and the first free place, which decides its address. */
static struct nh_map *map_at(struct nh_proc *proc, s64 name)
{
	unsigned int slot;

	for (slot = 0; proc && slot < MAPS; slot++)
		if (proc->map[slot].used && proc->map[slot].name == name)
			return &proc->map[slot];
	return NULL;
}
static int free_slot(struct nh_proc *proc, s64 name)
{
	int slot;

	if (map_at(proc, name))
		return -1;
	for (slot = 0; slot < MAPS; slot++)
		if (!proc->map[slot].used)
			return slot;
	return -1;
}
static void become(struct nh_proc *proc)
{
	nh_set_current(proc ? proc->task : &init_task);
	nh_set_cpu_node(proc && proc->cpu < nh_node_count ? proc->cpu : 0);
}

static u64 bits(unsigned long start, unsigned long length)
{
	if (start >= 64)
		return 0;
	if (length > 64 - start)
		length = 64 - start;
	return length == 64 ? ~0ULL : ((1ULL << length) - 1) << start;
}
static void lose(struct nh_map *map, unsigned long start, unsigned long length)
{
	map->lost |= bits(start, length);
	if ((map->lost & bits(0, map->length)) == bits(0, map->length))
		memset(map, 0, sizeof(*map));
}

/* What the hardware would do with the page table entry, then the fault path. */
static u64 *hardware_access(struct mm_struct *mm, unsigned long address, bool write)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	pte_t entry;
	unsigned long offset;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, address);
	if (pud_none(*pud))
		return NULL;
	if (pud_val(*pud) & _PAGE_PSE) {
		entry = *(pte_t *)pud;
		offset = address & ~PUD_MASK;
	} else {
		pmd = pmd_offset(pud, address);
		if (pmd_none(*pmd) || !(pmd_val(*pmd) & _PAGE_PSE))
			return NULL;
		entry = *(pte_t *)pmd;
		offset = address & ~PMD_MASK;
	}
	if (!(pte_val(entry) & _PAGE_PRESENT))
		return NULL;
	if (write && !(pte_val(entry) & _PAGE_RW))
		return NULL;
	return page_address(pfn_to_page(pte_pfn(entry))) + offset;
}

static long touch(struct nh_proc *proc, struct nh_map *map, unsigned int slot, unsigned long page,
		  bool write, u64 value)
{
	unsigned long address = nh_map_address(slot) + page * nh_map_page_bytes(map);
	struct mm_struct *mm = proc->task->mm;
	unsigned int flags = FAULT_FLAG_DEFAULT | FAULT_FLAG_USER | (write ? FAULT_FLAG_WRITE : 0);
	unsigned int tries;

	for (tries = 0; tries < 16; tries++) {
		struct vm_area_struct *vma;
		vm_fault_t fault;
		u64 *word = hardware_access(mm, address, write);

		if (word) {
			if (write)
				*word = value;
			nh_result->value = *word;
			nh_result->has_value = 1;
			return 0;
		}
		mmap_read_lock(mm);
		vma = find_vma(mm, address);
		if (!vma || vma->vm_start > address) {
			mmap_read_unlock(mm);
			nh_result->signal = 11;
			nh_result->si_code = 1;
			return 0;
		}
		if (write ? !(vma->vm_flags & VM_WRITE) :
			    !(vma->vm_flags & (VM_READ | VM_EXEC | VM_WRITE))) {
			mmap_read_unlock(mm);
			nh_result->signal = 11;
			nh_result->si_code = 2;
			return 0;
		}
		fault = handle_mm_fault(vma, address, flags, NULL);
		if (fault & VM_FAULT_COMPLETED)
			continue;
		if (fault & VM_FAULT_RETRY) {
			flags |= FAULT_FLAG_TRIED;
			continue;
		}
		mmap_read_unlock(mm);
		if (!(fault & VM_FAULT_ERROR))
			continue;
		if (fault & VM_FAULT_OOM)
			continue; /* the instruction is tried again */
		if (fault & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE)) {
			nh_result->signal = 7;
			nh_result->si_code = fault & VM_FAULT_SIGBUS ? 2 : 4;
		} else {
			nh_result->signal = 11;
			nh_result->si_code = 1;
		}
		return 0;
	}
	nh_result->signal = 9;
	return 0;
}

static char text_page[PAGE_SIZE] __aligned(PAGE_SIZE);

static const char *mount_path(unsigned int mount)
{
	static char path[32];

	snprintf(path, sizeof(path), "/h%u", mount);
	return path;
}

static long do_open(struct nh_proc *proc, unsigned int fd, unsigned int mount, u64 name)
{
	char path[48];
	long got;

	snprintf(path, sizeof(path), "/h%u/%c", mount, (char)('a' + name % 26));
	got = call(__x64_sys_openat, AT_FDCWD, (unsigned long)path, O_RDWR | O_CREAT | O_CLOEXEC, 0600, 0,
		   0);
	if (got < 0)
		return got;
	proc->fd[fd] = got;
	return 0;
}

static struct super_block *sb_of(const char *where)
{
	struct path path;
	struct super_block *sb = NULL;

	if (!kern_path(where, 0, &path)) {
		sb = path.dentry->d_sb;
		path_put(&path);
	}
	return sb;
}

static long do_mount_op(unsigned int mount, s64 size, s64 min_size, bool giant)
{
	unsigned long page = giant ? 1UL << 30 : 1UL << 21;
	unsigned int at;
	long got;

	at = snprintf(text_page, PAGE_SIZE, "pagesize=%s", giant ? "1G" : "2M");
	if (size >= 0)
		at += snprintf(text_page + at, PAGE_SIZE - at, ",size=%llu", (u64)size * page);
	if (min_size >= 0)
		at += snprintf(text_page + at, PAGE_SIZE - at, ",min_size=%llu", (u64)min_size * page);
	memset(text_page + at, 0, PAGE_SIZE - at);
	got = call(__x64_sys_mount, (unsigned long)"none", (unsigned long)mount_path(mount),
		   (unsigned long)"hugetlbfs", 0, (unsigned long)text_page, 0);
	if (got)
		return got;
	nh_mounts[mount].used = true;
	nh_mounts[mount].sb = sb_of(mount_path(mount));
	return 0;
}

static long pool_store(int nid, bool giant, const char *file, s64 n)
{
	struct kobject *kobj = nh_kobject(nid, giant ? 1048576 : 2048);
	char text[24];
	ssize_t got;

	snprintf(text, sizeof(text), "%llu\n", (u64)n);
	got = nh_sysfs_store(kobj, file, text);
	return got < 0 ? got : 0;
}

static long do_fork_op(struct nh_proc *parent, struct nh_proc *child)
{
	struct task_struct *task = nh_task_new(parent->task);
	long ret = -ENOMEM;

	task->mempolicy = mpol_dup(parent->task->mempolicy);
	if (IS_ERR(task->mempolicy)) {
		ret = PTR_ERR(task->mempolicy);
		task->mempolicy = NULL;
		goto fail;
	}
	task->files = dup_fd(parent->task->files, NULL);
	if (IS_ERR_OR_NULL(task->files)) {
		task->files = NULL;
		goto fail;
	}
	task->mm = nh_dup_mm(task, parent->task->mm);
	if (!task->mm)
		goto fail;
	task->active_mm = task->mm;
	*child = *parent;
	child->task = task;
	child->pins = NULL;
	become(child);
	nh_forget_context(child);
	return 0;
fail:
	nh_task_exit(task);
	return ret;
}

static long do_spawn(struct nh_proc *proc)
{
	struct task_struct *task = nh_task_new(&init_task);
	unsigned int i;

	memset(proc, 0, sizeof(*proc));
	for (i = 0; i < FDS; i++)
		proc->fd[i] = -1;
	proc->faults = -1;
	task->files = dup_fd(init_task.files, NULL);
	task->mm = mm_alloc();
	if (!task->mm || IS_ERR_OR_NULL(task->files)) {
		if (IS_ERR(task->files))
			task->files = NULL;
		nh_task_exit(task);
		return -ENOMEM;
	}
	task->mm->task_size = TASK_SIZE;
	task->active_mm = task->mm;
	proc->task = task;
	return 0;
}

static long set_policy(struct nh_proc *proc, s64 slot, s64 start, s64 length, s64 mode, s64 nodes)
{
	unsigned long mask = nodes;
	unsigned long at = mask ? (unsigned long)&mask : 0, count = mask ? 64 : 0;

	if (slot < 0)
		return call(__x64_sys_set_mempolicy, mode, at, count, 0, 0, 0);
	return call(__x64_sys_mbind,
		    nh_map_address(slot) + start * nh_map_page_bytes(&proc->map[slot]),
		    length * nh_map_page_bytes(&proc->map[slot]), mode, at, count, 0);
}

/* The next allocations of one kind of object fail; kinds are told by their size. */
static long fail_kmalloc(s64 count, s64 skip, s64 what)
{
	static const unsigned int sizes[] = {
		0,
		sizeof(struct file_region),
		sizeof(struct resv_map),
		sizeof(struct hugetlb_vma_lock),
		sizeof(struct hugepage_subpool),
		sizeof(struct vm_area_struct),
		sizeof(struct anon_vma),
	};

	if (what < 0 || what >= ARRAY_SIZE(sizes))
		REFUSE;
	nh_failures_armed += (count > 0) - (nh_failures[what].count > 0);
	nh_failures[what] = (struct nh_failure){ skip, count, sizes[what] };
	return 0;
}

void nh_put_failures(void)
{
	unsigned int i;

	for (i = 0; nh_failures_armed && i < NH_FAILURES; i++) {
		nh_put(nh_failures[i].skip);
		nh_put(nh_failures[i].count);
	}
	for (i = 0; i < SHMS; i++)
		nh_put(shms[i].used ? shms[i].length + 1 : 0);
}

/* Where a process keeps a pin, or the place after its last one. */
struct nh_pin **nh_find_pin(struct nh_proc *proc, s64 name)
{
	struct nh_pin **at = &proc->pins;

	while (*at && (*at)->name != name)
		at = &(*at)->next;
	return at;
}

/* Buffers for devices: pinned for long, let go by name or before exit. */
static long pin(struct nh_proc *proc, unsigned long start, unsigned long pages, s64 name)
{
	struct nh_pin *made;
	long got;

	if (!pages)
		return -EFAULT;
	made = kvzalloc(sizeof(*made) + pages * sizeof(struct page *), GFP_KERNEL | __GFP_NOFAIL);
	got = pin_user_pages_fast(start, pages, FOLL_WRITE | FOLL_LONGTERM, made->page);
	if (got != pages) {
		if (got > 0)
			unpin_user_pages(made->page, got);
		kvfree(made);
		return got < 0 ? got : -EFAULT;
	}
	made->name = name;
	made->count = pages;
	made->next = NULL;
	*nh_find_pin(proc, name) = made;
	return 0;
}
static void unpin(struct nh_pin **at)
{
	struct nh_pin *pin = *at;

	*at = pin->next;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	if (pin->folios)
		unpin_folios((struct folio **)pin->page, pin->count);
	else
#endif
		unpin_user_pages(pin->page, pin->count);
	kvfree(pin);
}

static long run_op(const struct nh_op *op)
{
	const s64 *a = op->arg;
	struct nh_proc *proc = proc_at(a[0]);
	struct nh_map *map = map_at(proc, a[1]);
	unsigned long base, page;
	s64 start, length;
	int slot = map ? (int)(map - proc->map) : -1;
	long got;

	/* operations that no process of the trace does */
	switch (op->kind) {
	case OP_SPAWN:
		if (a[0] < 0 || a[0] >= PROCS || proc)
			REFUSE;
		become(NULL);
		return do_spawn(&nh_procs[a[0]]);
	case OP_UNLINK: {
		char path[48];

		if (a[0] < 0 || a[0] >= MOUNTS || !nh_mounts[a[0]].used)
			REFUSE;
		become(NULL);
		snprintf(path, sizeof(path), "/h%u/%c", (u32)a[0], (char)('a' + a[1] % 26));
		return call(__x64_sys_unlink, (unsigned long)path, 0, 0, 0, 0, 0);
	}
	case OP_MOUNT:
		if (a[0] < 0 || a[0] >= MOUNTS || nh_mounts[a[0]].used)
			REFUSE;
		become(NULL);
		return do_mount_op(a[0], a[1], a[2], a[3]);
	case OP_UMOUNT:
		if (a[0] < 0 || a[0] >= MOUNTS || !nh_mounts[a[0]].used)
			REFUSE;
		become(NULL);
		got = call(__x64_sys_umount, (unsigned long)mount_path(a[0]), 0, 0, 0, 0, 0);
		if (!got)
			memset(&nh_mounts[a[0]], 0, sizeof(nh_mounts[0]));
		return got;
	case OP_SET_NR:
		become(NULL);
		return pool_store(-1, a[1], "nr_hugepages", a[0]);
	case OP_SET_OVERCOMMIT:
		become(NULL);
		return pool_store(-1, a[1], "nr_overcommit_hugepages", a[0]);
	case OP_SET_NODE_NR:
		if (a[0] < 0 || a[0] >= nh_node_count)
			REFUSE;
		become(NULL);
		return pool_store(a[0], a[2], "nr_hugepages", a[1]);
	case OP_DEMOTE:
		become(NULL);
		if (a[1] >= (s64)nh_node_count)
			REFUSE;
		return pool_store(a[1] < 0 ? -1 : a[1], a[2], "demote", a[0]);
	case OP_CGROUP_CREATE:
		if (a[0] < 0 || a[0] >= CGROUPS || nh_cgroup_named[a[0]])
			REFUSE;
		become(NULL);
		got = nh_cgroup_create(a[0]);
		nh_cgroup_named[a[0]] = !got;
		return got;
	case OP_CGROUP_RMDIR:
		if (a[0] < 0 || a[0] >= CGROUPS || !nh_cgroup_named[a[0]])
			REFUSE;
		become(NULL);
		got = nh_cgroup_remove(a[0]);
		if (!got)
			nh_cgroup_named[a[0]] = false;
		return got;
	case OP_CGROUP_SET: {
		char text[32];

		if (a[0] < 0 || a[0] >= CGROUPS || !nh_cgroup_named[a[0]])
			REFUSE;
		become(NULL);
		if (a[2] < 0)
			strscpy(text, "max", sizeof(text));
		else
			snprintf(text, sizeof(text), "%llu", (u64)a[2] << 21);
		return nh_cgroup_write(a[0], a[1], text);
	}
	case OP_CGROUP_ATTACH:
		if (!proc || (a[1] >= 0 && (a[1] >= CGROUPS || !nh_cgroup_named[a[1]])))
			REFUSE;
		become(NULL);
		return nh_cgroup_attach(proc->task, a[1]);
	case OP_FAIL_BUDDY:
		if (a[0] < 0 || a[0] >= NH_MAX_NODES)
			REFUSE;
		nh_page_failure[a[0]].skip = a[2];
		nh_page_failure[a[0]].count = a[1];
		return 0;
	case OP_FAIL_KMALLOC:
		return fail_kmalloc(a[0], a[1], a[2]);
	case OP_FAIL_COPY:
		got = nh_fail_copy(a[0], a[1]);
		if (got == NH_NO_OP)
			REFUSE;
		return got;
	case OP_SHMGET:
		if (a[0] < 0 || a[0] >= SHMS || shms[a[0]].used || a[1] > MAP_PAGES)
			REFUSE;
		become(NULL);
		got = call(__x64_sys_shmget, IPC_PRIVATE, (unsigned long)a[1] << 21,
			   IPC_CREAT | 0600 | SHM_HUGETLB | SHM_HUGE_2MB | (a[2] ? SHM_NORESERVE : 0), 0,
			   0, 0);
		if (got < 0)
			return got;
		shms[a[0]] = (struct nh_shm){ .used = true, .id = got, .length = a[1] };
		return 0;
	case OP_SHM_RMID:
		if (a[0] < 0 || a[0] >= SHMS || !shms[a[0]].used)
			REFUSE;
		become(NULL);
		got = call(__x64_sys_shmctl, shms[a[0]].id, IPC_RMID, 0, 0, 0, 0);
		if (!got)
			shms[a[0]].used = false;
		return got;
	}

	if (!proc)
		REFUSE;
	become(proc);
	switch (op->kind) {
	case OP_FORK:
		if (a[1] < 0 || a[1] >= PROCS || nh_procs[a[1]].task)
			REFUSE;
		return do_fork_op(proc, &nh_procs[a[1]]);
	case OP_EXIT:
	case OP_KILL:
		/* A killed process would unpin some time after its end. */
		if (op->kind == OP_KILL && proc->pins)
			REFUSE;
		while (proc->pins)
			unpin(&proc->pins);
		got = nh_task_exit(proc->task);
		nh_settle();
		nh_set_current(&init_task);
		kfree(proc->task);
		proc->task = NULL;
		return got;
	case OP_SET_NR_MEMPOLICY:
		return pool_store(-1, a[2], "nr_hugepages_mempolicy", a[1]);
	case OP_UNPIN: {
		struct nh_pin **at = nh_find_pin(proc, a[1]);

		if (!*at)
			REFUSE;
		unpin(at);
		return 0;
	}
	case OP_SCHED_SETAFFINITY:
		if (a[1] < 0 || a[1] >= nh_node_count)
			return -EINVAL;
		proc->cpu = a[1];
		return 0;
	case OP_SET_MEMPOLICY:
		return set_policy(proc, -1, 0, 0, a[1], a[2]);
	case OP_MIGRATE_PAGES: {
		unsigned long from = a[1], to = a[2];

		return call(__x64_sys_migrate_pages, 0, 64, (unsigned long)&from, (unsigned long)&to, 0, 0);
	}
	case OP_OPEN:
		if (a[1] < 0 || a[1] >= FDS || proc->fd[a[1]] >= 0 || a[2] < 0 || a[2] >= MOUNTS ||
		    !nh_mounts[a[2]].used)
			REFUSE;
		return do_open(proc, a[1], a[2], a[3]);
	case OP_MEMFD_CREATE:
		if (a[1] < 0 || a[1] >= FDS || proc->fd[a[1]] >= 0)
			REFUSE;
		got = call(__x64_sys_memfd_create, (unsigned long)"equivcheck",
			   MFD_HUGETLB | MFD_CLOEXEC | (a[2] ? MFD_HUGE_1GB : MFD_HUGE_2MB), 0, 0, 0, 0);
		if (got < 0)
			return got;
		proc->fd[a[1]] = got;
		return 0;
	case OP_CLOSE:
	case OP_FTRUNCATE:
	case OP_MEMFD_PIN_FOLIOS:
	case OP_FALLOCATE: {
		unsigned long unit;
		int fd;

		if (a[1] < 0 || a[1] >= FDS || proc->fd[a[1]] < 0)
			REFUSE;
		fd = proc->fd[a[1]];
		unit = huge_page_size(hstate_inode(file_inode(files_lookup_fd_raw(proc->task->files, fd))));
		if (op->kind == OP_FTRUNCATE)
			return call(__x64_sys_ftruncate, fd, a[2] * unit, 0, 0, 0, 0);
		if (op->kind == OP_MEMFD_PIN_FOLIOS) {
			if (*nh_find_pin(proc, a[4]))
				REFUSE;
			got = nh_pin_file(proc, fd, a[2] * unit, a[3] * unit, a[4]);
			if (got == NH_NO_OP)
				REFUSE;
			return got;
		}
		if (op->kind == OP_FALLOCATE)
			return call(__x64_sys_fallocate, fd, a[2], a[3] * unit, a[4] * unit, 0, 0);
		proc->fd[a[1]] = -1;
		return call(__x64_sys_close, fd, 0, 0, 0, 0, 0);
	}
	case OP_SHMAT:
		slot = free_slot(proc, a[1]);
		if (slot < 0 || a[2] < 0 || a[2] >= SHMS || !shms[a[2]].used)
			REFUSE;
		got = call(__x64_sys_shmat, shms[a[2]].id, nh_map_address(slot), 0, 0, 0, 0);
		if (IS_ERR_VALUE(got))
			return got;
		proc->map[slot] = (struct nh_map){ .used = true, .name = a[1], .length = shms[a[2]].length };
		return 0;
	case OP_MMAP: {
		bool giant = a[7];
		unsigned long flags = a[4];
		int fd = -1;

		slot = free_slot(proc, a[1]);
		if (slot < 0 || a[2] > MAP_PAGES)
			REFUSE;
		if (a[5] >= 0) {
			if (a[5] >= FDS || proc->fd[a[5]] < 0)
				REFUSE;
			fd = proc->fd[a[5]];
			giant = huge_page_size(hstate_inode(file_inode(
					files_lookup_fd_raw(proc->task->files, fd)))) > (1UL << 21);
		} else {
			flags |= MAP_ANONYMOUS | MAP_HUGETLB | (giant ? MAP_HUGE_1GB : MAP_HUGE_2MB);
		}
		page = giant ? 1UL << 30 : 1UL << 21;
		base = nh_map_address(slot);
		got = ksys_mmap_pgoff(base, a[2] * page, a[3], flags | MAP_FIXED_NOREPLACE, fd,
				      a[6] * (page >> PAGE_SHIFT));
		if (IS_ERR_VALUE(got))
			return got;
		proc->map[slot] = (struct nh_map){ .used = true, .name = a[1], .giant = giant,
						    .length = a[2] };
		return 0;
	}
	}

	/* operations on a mapping */
	if (!map)
		REFUSE;
	base = nh_map_address(slot);
	page = nh_map_page_bytes(map);
	start = a[2];
	length = a[3] < 0 ? (s64)map->length - start : a[3];
	if (start < 0 || start > MAP_PAGES || length > MAP_PAGES)
		REFUSE;
	switch (op->kind) {
	case OP_TOUCH_READ:
	case OP_TOUCH_WRITE:
		return touch(proc, map, slot, a[2], op->kind == OP_TOUCH_WRITE, op->serial);
	case OP_MUNMAP:
		got = call(__x64_sys_munmap, base + start * page, length * page, 0, 0, 0, 0);
		if (!got)
			lose(map, start, length);
		return got;
	case OP_MPROTECT:
		return call(__x64_sys_mprotect, base + start * page, length * page, a[4], 0, 0, 0);
	case OP_MADVISE:
		return call(__x64_sys_madvise, base + start * page, length * page, a[4], 0, 0, 0);
	case OP_PIN:
		if (*nh_find_pin(proc, a[4]))
			REFUSE;
		return pin(proc, base + start * page, length * (page >> PAGE_SHIFT), a[4]);
	case OP_UFFD_REGISTER:
	case OP_UFFD_UNREGISTER:
	case OP_UFFD_COPY:
	case OP_UFFD_CONTINUE:
	case OP_UFFD_POISON:
	case OP_UFFD_WRITEPROTECT:
		got = nh_extra_op(op, proc, base, page, start, length);
		if (got == NH_NO_OP)
			REFUSE;
		return got;
	case OP_MBIND:
		return set_policy(proc, slot, start, length, a[4], a[5]);
	case OP_MREMAP: {
		s64 new_length = a[4] < 0 ? length : a[4];
		int to = a[5] >= 0 ? free_slot(proc, a[5]) : -1;

		if (a[5] >= 0 && to < 0)
			REFUSE;
		if (start + new_length > MAP_PAGES)
			REFUSE;
		got = call(__x64_sys_mremap, base + start * page, length * page, new_length * page,
			   to >= 0 ? MREMAP_MAYMOVE | MREMAP_FIXED : 0,
			   to >= 0 ? nh_map_address(to) : 0, 0);
		if (IS_ERR_VALUE(got))
			return got;
		if (to >= 0) {
			proc->map[to] = (struct nh_map){ .used = true, .name = a[5], .giant = map->giant,
							   .length = new_length };
			lose(map, start, length);
		} else {
			if (start + new_length > map->length)
				map->length = start + new_length;
			if (length > new_length)
				lose(map, start + new_length, length - new_length);
		}
		return 0;
	}
	}
	REFUSE;
}

void nh_begin(struct nh_trace *trace)
{
	unsigned int nid;

	for (nid = 0; nid < NH_MAX_NODES; nid++)
		if (trace->world[4 + nid])
			nh_huge_limit[nid] = trace->world[4 + nid] < 0 ? 0 : trace->world[4 + nid];
	become(NULL);
	nh_current_op = 0;
	if (trace->world[1])
		pool_store(-1, false, "nr_overcommit_hugepages", trace->world[1]);
	if (trace->world[0])
		pool_store(-1, false, "nr_hugepages", trace->world[0]);
	if (trace->world[3])
		pool_store(-1, true, "nr_overcommit_hugepages", trace->world[3]);
	if (trace->world[2])
		pool_store(-1, true, "nr_hugepages", trace->world[2]);
	nh_settle();
}

/* Runs operation i (from 1) to its end. */
static void run_one(struct nh_trace *trace, u64 i)
{
	const struct nh_op *ops = (const struct nh_op *)(nh_shared + trace->op_offset);
	long ret;

	nh_result = (struct nh_result *)(nh_shared + trace->result_offset) + i;
	nh_current_op = i;
	/* whoever goes back to an earlier state finds what it wrote before */
	memset(nh_result, 0, sizeof(*nh_result));
	nh_warnings = nh_printed = 0;
	nh_warning_hash = 0xcbf29ce484222325ULL;
	ret = run_op(&ops[i - 1]);
	nh_settle();
	nh_check_quiescent();
	if (ret < 0 && ret >= -4095)
		nh_result->ret = ret;
	nh_result->warnings = nh_warnings;
	nh_result->warning_hash = nh_warnings ? nh_warning_hash : 0;
}

static bool looked;

/* Operation i of the trace; result 0 is the state before the first. */
static void step(struct nh_trace *trace, u64 i, bool look, bool words)
{
	nh_effects = 0;
	nh_tick();
	if (i)
		run_one(trace, i);
	else
		nh_result = (struct nh_result *)(nh_shared + trace->result_offset);
	if (look && i && nh_result->ending == NH_REFUSED && looked && !words)
		nh_observe_again(nh_result, nh_result - 1);
	else if (look)
		nh_observe(trace, nh_result, words);
	looked = look;
	trace->done = i;
}

static struct nh_trace *together;

static void run_task(unsigned int task)
{
	run_one(together, together->schedule.at + task);
	nh_boundaries()->ended |= 1U << task;
}

/* The operations of the schedule, all at once; the last one's result has the state. */
static void step_together(struct nh_trace *trace, bool look, bool words)
{
	u64 last = trace->schedule.at + trace->schedule.tasks - 1;

	together = trace;
	nh_effects = 0;
	nh_tick();
	nh_interleave(trace, run_task);
	nh_current_op = last;
	nh_settle();
	nh_check_quiescent();
	nh_result = (struct nh_result *)(nh_shared + trace->result_offset) + last;
	if (look)
		nh_observe(trace, nh_result, words);
	looked = look;
	trace->done = last;
}

void nh_step(struct nh_trace *trace, u64 i, bool look)
{
	step(trace, i, look, false);
}

void nh_step_together(struct nh_trace *trace, bool look)
{
	step_together(trace, look, false);
}

void nh_look(struct nh_trace *trace, u64 i)
{
	trace->observation_used = 0;
	nh_observe(trace, (struct nh_result *)(nh_shared + trace->result_offset) + i, true);
}

void nh_run(struct nh_trace *trace)
{
	bool always = (trace->flags & NH_FLAG_DIGEST) || trace->observation_capacity;
	bool last_only = trace->flags & NH_FLAG_LAST_ONLY;
	bool words = trace->observation_capacity;
	u64 i;

	nh_begin(trace);
	for (i = 0; i <= trace->ops; i++) {
		bool group = trace->schedule.tasks && i == trace->schedule.at;
		bool look;

		i += group ? trace->schedule.tasks - 1 : 0;
		look = always && (!last_only || i == trace->ops);
		if (group)
			step_together(trace, look, words);
		else
			step(trace, i, look, words);
	}
}

extern initcall_entry_t nh_initcalls_start[], nh_initcalls_end[];
extern void vfs_caches_init_early(void), vfs_caches_init(void);
extern struct workqueue_struct *mm_percpu_wq;
extern void radix_tree_init(void), maple_tree_init(void), anon_vma_init(void), numa_policy_init(void);
extern void shm_init_ns(struct ipc_namespace *ns);
extern void proc_caches_init(void), cred_init(void), mmap_init(void);
/* Older trees made this cache in proc_caches_init(); stable ones have it both ways. */
extern void mm_cache_init(void) __attribute__((weak));
unsigned int nh_boot_nodes, nh_boot_giant;

void nh_boot(void)
{
	initcall_entry_t *at;
	unsigned int i;

	nh_boot_environment();
	nh_boot_memory(nh_boot_nodes);
	nh_boot_world(nh_boot_nodes, nh_boot_giant);
	for (i = 0; i < ARRAY_SIZE(init_user_ns.ucount_max); i++)
		init_user_ns.ucount_max[i] = INT_MAX;
	for (i = 0; i < ARRAY_SIZE(init_user_ns.rlimit_max); i++)
		init_user_ns.rlimit_max[i] = LONG_MAX;
	radix_tree_init();
	maple_tree_init();
	anon_vma_init();
	cred_init();
	if (mm_cache_init)
		mm_cache_init();
	proc_caches_init();
	vfs_caches_init_early();
	vfs_caches_init();
	numa_policy_init();
	pagecache_init();
	refcount_set(&init_ipc_ns.ns.count, 1);
	refcount_set(&init_struct_pid.count, 1);
	init_ipc_ns.user_ns = &init_user_ns;
	shm_init_ns(&init_ipc_ns);
	INIT_LIST_HEAD(&init_task.sysvshm.shm_clist);
	mm_percpu_wq = (struct workqueue_struct *)1; /* named in calls, never looked into */
	nh_boot_cgroups();
	for (at = nh_initcalls_start; at < nh_initcalls_end; at++)
		initcall_from_entry(at)();
	for (i = 0; i < MOUNTS; i++) {
		long got = call(__x64_sys_mkdir, (unsigned long)mount_path(i), 0755, 0, 0, 0, 0);

		BUG_ON(got);
	}
	nh_settle();
	nh_check_quiescent();
}
