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
	struct page *page[];
};

struct nh_proc {
	struct task_struct *task;
	unsigned int cpu;
	struct nh_map map[MAPS];
	int fd[FDS]; /* -1: not open */
	struct nh_pin *pins;
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
extern struct nh_proc nh_procs[PROCS];
extern struct nh_mount nh_mounts[MOUNTS];
extern bool nh_cgroup_named[CGROUPS];

static inline unsigned long nh_map_address(unsigned int slot)
{
	return ((unsigned long)slot + 1) << 34;
}
static inline unsigned long nh_map_page_bytes(const struct nh_map *map)
{
	return map->giant ? 1UL << 30 : 1UL << 21;
}
#endif
