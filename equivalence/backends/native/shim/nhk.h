/* Fidelity: CUSTOM
 * What the shim's kernel-side files share. */
#ifndef NHK_H
#define NHK_H
#include <linux/version.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/mm.h>
#include <linux/fs.h>
#include "nh.h"
#include "nh_alloc.h"

#define NH_MAX_NODES 4

/* locks.c */
struct nh_locks {
	int held, spins; /* of all kinds; of those that disable preemption */
};
extern struct nh_locks nh_locks;
void nh_check_quiescent(void);
/* interleave.c */
extern unsigned int nh_task_count; /* 0 unless operations run together */
void nh_boundary_slow(enum nh_boundary_kind what, const void *lock, const char *name);
void nh_attempt_slow(const void *lock);
void nh_wait_slow(const void *lock, const char *text);
bool nh_wait_for_event(void);
void nh_interleave(struct nh_trace *trace, void (*run)(unsigned int task));
/* work.c */
void nh_settle(void);
/* pages.c */
void nh_boot_memory(unsigned int nodes);
void nh_set_cpu_node(int nid);
int nh_cpu_node(void);
struct nh_page_failure {
	long skip, count; /* let this many pass, then fail so many; -1: for ever */
};
extern struct nh_page_failure nh_page_failure[NH_MAX_NODES];
bool nh_page_copy_fails(void);
extern unsigned long nh_huge_limit[NH_MAX_NODES]; /* 2M blocks a node may hand out */
unsigned int nh_folio_name(unsigned long pfn);
extern u64 nh_effects;
extern unsigned int nh_node_count;
/* env.c */
void nh_boot_environment(void);
void nh_boot_world(unsigned int nodes, bool giant);
ssize_t nh_sysfs_store(struct kobject *kobj, const char *name, const char *text);
ssize_t nh_sysfs_show(struct kobject *kobj, const char *name, char *text);
struct kobject *nh_kobject(int nid, unsigned long kilobytes);
void nh_set_current(struct task_struct *task);
/* cgroup.c */
void nh_boot_cgroups(void);
struct nh_cgroup;
int nh_cgroup_create(unsigned int slot);
int nh_cgroup_remove(unsigned int slot);
int nh_cgroup_write(unsigned int slot, unsigned int file, const char *text);
int nh_cgroup_attach(struct task_struct *task, int slot);
struct cgroup_subsys_state *nh_cgroup_css(unsigned int slot);
void nh_cgroup_fork(struct task_struct *child, struct task_struct *parent);
void nh_cgroup_exit(struct task_struct *task);
unsigned long nh_cgroup_serial(struct cgroup_subsys_state *css);
/* task.c */
struct task_struct *nh_task_new(struct task_struct *parent);
int nh_task_exit(struct task_struct *task);
/* fork_access.c */
struct mm_struct *nh_dup_mm(struct task_struct *task, struct mm_struct *old);
/* env.c */
extern u64 nh_warning_hash;
extern u32 nh_warnings, nh_printed;
/* key.c */
enum nh_named {
	NH_FOLIO = 1, NH_DATA, NH_GROUP, NH_GROUP_HELD, NH_INODE, NH_SUPER, NH_FILE, NH_VMA, NH_ANON,
};
u64 nh_renamed(enum nh_named kind, u64 value);
u64 nh_name_of_pfn(unsigned long pfn);
void nh_forget_names(void);
void nh_put_hidden(void);
/* what decides who gets a page next (pages.c), and which allocations fail (driver.c) */
void nh_put_pages(void);
void nh_put_failures(void);
extern u64 nh_warned; /* env.c: which warnings there were, roughly */
/* observe.c */
void nh_put(u64 word);
void nh_observe(struct nh_trace *trace, struct nh_result *result, bool words);
void nh_observe_again(struct nh_result *result, const struct nh_result *before);
#endif
