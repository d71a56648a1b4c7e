/* Fidelity: CUSTOM
 * The names that a trace uses, as the driver keeps them. */
#ifndef NH_DRIVER_H
#define NH_DRIVER_H
#include "nhk.h"
#include <linux/path.h>

#define PROCS 32
#define MAPS 16
#define FDS 16
#define MOUNTS 8
#define CGROUPS 8
#define SHMS 8
#define MAP_PAGES 64

struct nh_map {
	bool used;
	bool giant;
	unsigned int name;
	unsigned int length; /* pages of the mapping, as it was made or grown */
	u64 lost; /* pages that are no longer part of it */
};

struct nh_pin {
	struct nh_pin *next;
	s64 name;
	unsigned long count;
	bool folios; /* of a file, each counted once */
	struct page *page[];
};

struct nh_proc {
	struct task_struct *task;
	unsigned int cpu;
	struct nh_map map[MAPS];
	int fd[FDS]; /* -1: not open */
	struct nh_pin *pins;
	int faults; /* its userfaultfd; -1: none yet */
};

struct nh_mount {
	bool used;
	struct super_block *sb;
};

struct nh_shm {
	bool used;
	int id;
	unsigned int length;
};

extern struct nh_result *nh_result; /* of the operation that runs */
enum kind {
	OP_SPAWN, OP_FORK, OP_EXIT, OP_KILL, OP_MMAP, OP_MUNMAP, OP_MREMAP, OP_MPROTECT,
	OP_TOUCH_READ, OP_TOUCH_WRITE, OP_MADVISE, OP_MBIND, OP_SET_MEMPOLICY, OP_MIGRATE_PAGES,
	OP_SCHED_SETAFFINITY, OP_OPEN, OP_MEMFD_CREATE, OP_CLOSE, OP_FTRUNCATE, OP_FALLOCATE,
	OP_UNLINK, OP_SHMGET, OP_SHMAT, OP_SHM_RMID, OP_MOUNT, OP_UMOUNT, OP_SET_NR,
	OP_SET_OVERCOMMIT, OP_SET_NODE_NR, OP_CGROUP_CREATE, OP_CGROUP_RMDIR, OP_CGROUP_SET,
	OP_CGROUP_ATTACH, OP_FAIL_BUDDY, OP_FAIL_KMALLOC, OP_DEMOTE, OP_SET_NR_MEMPOLICY, OP_PIN,
	OP_UNPIN, OP_UFFD_REGISTER, OP_UFFD_UNREGISTER, OP_UFFD_COPY, OP_UFFD_CONTINUE,
	OP_UFFD_POISON, OP_UFFD_WRITEPROTECT, OP_MEMFD_PIN_FOLIOS, OP_FAIL_COPY, OP_KINDS
};

/* What an operation answers that could not even be tried: no errno is that small. */
#define NH_NO_OP LONG_MIN

extern struct nh_proc nh_procs[PROCS];
extern struct nh_mount nh_mounts[MOUNTS];
extern bool nh_cgroup_named[CGROUPS];

struct nh_pin **nh_find_pin(struct nh_proc *proc, s64 name);
long nh_extra_op(const struct nh_op *op, struct nh_proc *proc, unsigned long base,
		 unsigned long unit, s64 page, s64 length);
long nh_pin_file(struct nh_proc *proc, int fd, unsigned long start, unsigned long length, s64 name);
long nh_fail_copy(s64 what, s64 count);
void nh_forget_context(struct nh_proc *child);

static inline unsigned long nh_map_address(unsigned int slot)
{
	return ((unsigned long)slot + 1) << 34;
}
static inline unsigned long nh_map_page_bytes(const struct nh_map *map)
{
	return map->giant ? 1UL << 30 : 1UL << 21;
}
#endif
