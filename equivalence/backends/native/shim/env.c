/* Fidelity: CUSTOM
 * The rest of the environment: time, printk, warnings, sysfs, sysctl, rights. */
#include "nhk.h"
#include <linux/bug.h>
#include <linux/kobject.h>
#include <linux/sysfs.h>
#include <linux/sysctl.h>
#include <linux/node.h>
#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/backing-dev.h>
#include <linux/hugetlb.h>
#include <linux/ratelimit.h>
#include <linux/timekeeping.h>
#include <linux/nsproxy.h>
#include <linux/utsname.h>
#include <linux/ipc_namespace.h>
#include <linux/cgroup.h>
#include <linux/pid_namespace.h>
#include <linux/mempolicy.h>
#include <linux/memblock.h>
#include <linux/security.h>
#include <linux/task_work.h>
#include <asm/cpufeature.h>
#include <asm/tlbflush.h>
#include <asm/processor.h>
#include <asm/pgtable.h>

unsigned int nh_gfp_zero = __GFP_ZERO, nh_gfp_nofail = __GFP_NOFAIL;

/* What a BUG and a WARN are here. */
static u64 hash_text(u64 hash, const char *text)
{
	for (; text && *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ULL;
	return hash;
}

u64 nh_warning_hash;
u32 nh_warnings;
u64 nh_warned;

static void note(u32 kind, const char *function, const char *text, void *address)
{
	struct nh_event *event;

	if (!nh_trace || nh_trace->event_count >= NH_EVENTS)
		return;
	event = &nh_trace->event[nh_trace->event_count++];
	event->op = nh_current_op;
	event->kind = kind;
	event->address = (u64)(unsigned long)address;
	strscpy(event->function, function, sizeof(event->function));
	strscpy(event->text, text, sizeof(event->text));
}

void nh_warn(const char *function, const char *condition)
{
	nh_warnings++;
	nh_warned |= 1ULL << (hash_text(hash_text(0, function), condition) >> 58);
	nh_warning_hash = hash_text(hash_text(nh_warning_hash, function), condition);
	note(1, function, condition, __builtin_return_address(0));
	if (!nh_trace) {
		nh_log("WARN while booting: ");
		nh_log(function);
		nh_log(" ");
		nh_log(condition);
		nh_log("\n");
	}
}

void nh_bug(const char *function, const char *condition)
{
	note(2, function, condition, __builtin_return_address(0));
	nh_fatal(NH_BUG, condition, (u64)(unsigned long)__builtin_return_address(0));
}

void warn_slowpath_fmt(const char *file, const int line, unsigned int taint, const char *fmt, ...)
{
	nh_warn(file, fmt ? fmt : "");
}
void panic(const char *fmt, ...)
{
	nh_fatal(NH_BUG, fmt, (u64)(unsigned long)__builtin_return_address(0));
}

/* What is printed goes nowhere, and no operation has a reason to print much. */
#define MOST_LINES 10000
u32 nh_printed;

int _printk(const char *fmt, ...)
{
	if (++nh_printed > MOST_LINES)
		nh_fatal(NH_CRASH, "output limit", 0);
#ifdef NH_PRINTK
	char line[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), printk_skip_level(fmt), args);
	va_end(args);
	nh_log(line);
#endif
	return 0;
}
int __printk_ratelimit(const char *name)
{
	return 1;
}
int ___ratelimit(struct ratelimit_state *state, const char *name)
{
	return 1;
}

/* Time stands still: nothing here may depend on it. */
unsigned long volatile jiffies;
void ktime_get_coarse_real_ts64(struct timespec64 *now)
{
	*now = (struct timespec64){ 0 };
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
void ktime_get_coarse_real_ts64_mg(struct timespec64 *now)
{
	*now = (struct timespec64){ 0 };
}
#endif

/* The processor: one CPU that has huge pages. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
DEFINE_PER_CPU_ALIGNED(struct pcpu_hot, pcpu_hot) = { .current_task = &init_task };
asm(".globl const_pcpu_hot\nconst_pcpu_hot = pcpu_hot\n");
#else
DEFINE_PER_CPU(struct task_struct *, current_task) = &init_task;
DEFINE_PER_CPU(int, __preempt_count);
DEFINE_PER_CPU(int, cpu_number);
#endif
DEFINE_PER_CPU_READ_MOSTLY(unsigned long, this_cpu_off);
unsigned long __per_cpu_offset[NR_CPUS];
struct cpumask __cpu_possible_mask, __cpu_online_mask, __cpu_present_mask, __cpu_active_mask;
unsigned int nr_cpu_ids = 1;
atomic_t __num_online_cpus = ATOMIC_INIT(1);
struct cpuinfo_x86 boot_cpu_data;
DEFINE_PER_CPU_READ_MOSTLY(struct cpuinfo_x86, cpu_info);
unsigned long vmemmap_base, page_offset_base, vmalloc_base, phys_base;
pteval_t __supported_pte_mask = ~0ULL, __default_kernel_pte_mask = ~0ULL;
pgd_t init_top_pgt[PTRS_PER_PGD] __aligned(PAGE_SIZE);
unsigned long empty_zero_page[PAGE_SIZE / sizeof(unsigned long)] __aligned(PAGE_SIZE);
DEFINE_SPINLOCK(pgd_lock);
LIST_HEAD(pgd_list);
atomic64_t last_mm_ctx_id = ATOMIC64_INIT(1);
unsigned long mmap_min_addr = PAGE_SIZE;
unsigned long totalreserve_pages;
s32 vm_committed_as_batch = 32;
int ipc_mni = 32768, ipc_mni_shift = 15, ipc_min_cycle = 64;
int overflowuid = 65534, overflowgid = 65534;
atomic_long_t _totalram_pages = ATOMIC_LONG_INIT(1L << 22);
bool static_key_initialized = true;

pgprot_t vm_get_page_prot(unsigned long vm_flags)
{
	/* x86: present and user always; write and execute as asked, a private
	 * writable mapping starts read-only so that writes fault */
	pgprotval_t value = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;

	if ((vm_flags & (VM_WRITE | VM_SHARED)) == (VM_WRITE | VM_SHARED))
		value |= _PAGE_RW;
	if (!(vm_flags & (VM_READ | VM_WRITE | VM_EXEC)))
		value = (value & ~_PAGE_PRESENT) | _PAGE_PROTNONE;
	if (!(vm_flags & VM_EXEC))
		value |= _PAGE_NX;
	return __pgprot(value);
}

void nh_set_current(struct task_struct *task)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	this_cpu_write(pcpu_hot.current_task, task);
#else
	this_cpu_write(current_task, task);
#endif
}

/* Rights: everything runs as root. */
int cap_vm_enough_memory(struct mm_struct *mm, long pages)
{
	return 1;
}
bool ptrace_may_access(struct task_struct *task, unsigned int mode)
{
	return true;
}

/* sysfs: what is registered is remembered, a write finds its attribute. */
#define GROUPS 32
static struct {
	struct kobject *kobj;
	const struct attribute_group *group;
} groups[GROUPS];
static unsigned int group_count;
struct kobject *mm_kobj, *fs_kobj_for_nh, *kernel_kobj;
struct node *node_devices[MAX_NUMNODES];

struct kobject *kobject_create_and_add(const char *name, struct kobject *parent)
{
	struct kobject *kobj = kzalloc(sizeof(*kobj), GFP_KERNEL);

	if (kobj) {
		kobj->name = name;
		kobj->parent = parent;
	}
	return kobj;
}
int sysfs_create_group(struct kobject *kobj, const struct attribute_group *group)
{
	if (group_count == GROUPS)
		return -ENOMEM;
	groups[group_count].kobj = kobj;
	groups[group_count++].group = group;
	return 0;
}
int sysfs_emit(char *buf, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vscnprintf(buf, PAGE_SIZE, fmt, args);
	va_end(args);
	return length;
}
int sysfs_emit_at(char *buf, int at, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vscnprintf(buf + at, PAGE_SIZE - at, fmt, args);
	va_end(args);
	return length;
}

static struct kobj_attribute *find_attribute(struct kobject *kobj, const char *name)
{
	unsigned int i;
	struct attribute **at;

	for (i = 0; i < group_count; i++) {
		if (groups[i].kobj != kobj)
			continue;
		for (at = groups[i].group->attrs; at && *at; at++)
			if (!strcmp((*at)->name, name))
				return container_of(*at, struct kobj_attribute, attr);
	}
	return NULL;
}

ssize_t nh_sysfs_store(struct kobject *kobj, const char *name, const char *text)
{
	struct kobj_attribute *attribute = kobj ? find_attribute(kobj, name) : NULL;

	if (!attribute)
		return -ENOENT;
	if (!attribute->store)
		return -EACCES;
	return attribute->store(kobj, attribute, text, strlen(text));
}
ssize_t nh_sysfs_show(struct kobject *kobj, const char *name, char *text)
{
	struct kobj_attribute *attribute = kobj ? find_attribute(kobj, name) : NULL;

	if (!attribute)
		return -ENOENT;
	if (!attribute->show)
		return -EACCES;
	return attribute->show(kobj, attribute, text);
}

/* The directory hugepages-<kilobytes>kB below the system (node -1) or a node. */
struct kobject *nh_kobject(int nid, unsigned long kilobytes)
{
	char name[32];
	unsigned int i;

	snprintf(name, sizeof(name), "hugepages-%lukB", kilobytes);
	for (i = 0; i < group_count; i++) {
		struct kobject *kobj = groups[i].kobj, *above = kobj->parent;

		if (strcmp(kobj->name, name) || !above)
			continue;
		if (nid < 0 ? above->parent == mm_kobj :
			      (node_devices[nid] && above->parent == &node_devices[nid]->dev.kobj))
			return kobj;
	}
	return NULL;
}

const int sysctl_vals[] = { 0, 1, 2, 3, 4, 100, 200, 1000, 3000, INT_MAX, 65535, -1 };
const unsigned long sysctl_long_vals[] = { 0, 1, LONG_MAX };

/* Namespaces that the initial task names, and that nothing here enters. */
struct uts_namespace init_uts_ns;
struct ipc_namespace init_ipc_ns;
struct cgroup_namespace init_cgroup_ns;
struct pid_namespace init_pid_ns;
struct pid init_struct_pid;
const struct file_operations def_chr_fops, pipefifo_fops;
unsigned long init_stack[THREAD_SIZE / sizeof(unsigned long)];

extern int ramfs_init_fs_context(struct fs_context *context);
struct file_system_type rootfs_fs_type = {
	.name = "rootfs",
	.init_fs_context = ramfs_init_fs_context,
	.kill_sb = kill_litter_super,
};

/* Write-back: nothing here has a disk behind it. */
struct backing_dev_info noop_backing_dev_info = { .max_ratio = 100 };
#undef inode_to_bdi
struct backing_dev_info *inode_to_bdi(struct inode *inode)
{
	return &noop_backing_dev_info;
}
void file_ra_state_init(struct file_ra_state *state, struct address_space *mapping)
{
	state->prev_pos = -1;
}

void *alloc_large_system_hash(const char *name, unsigned long bucket, unsigned long entries, int scale,
			      int flags, unsigned int *shift, unsigned int *mask, unsigned long low,
			      unsigned long high)
{
	const unsigned int order = 6;

	if (shift)
		*shift = order;
	if (mask)
		*mask = (1U << order) - 1;
	return kzalloc(bucket << order, GFP_KERNEL);
}

void nh_boot_environment(void)
{
	unsigned int nid;

	vmemmap_base = (unsigned long)nh_vmemmap;
	page_offset_base = (unsigned long)nh_direct_map;
	cpumask_set_cpu(0, &__cpu_possible_mask);
	cpumask_set_cpu(0, &__cpu_online_mask);
	cpumask_set_cpu(0, &__cpu_present_mask);
	cpumask_set_cpu(0, &__cpu_active_mask);
	set_cpu_cap(&boot_cpu_data, X86_FEATURE_PSE);
	boot_cpu_data.x86_phys_bits = 46;
	boot_cpu_data.x86_virt_bits = 48;
}

/* What depends on the world: how many nodes, and whether 1 GiB pages exist. */
void nh_boot_world(unsigned int nodes, bool giant)
{
	unsigned int nid;

	if (giant)
		set_cpu_cap(&boot_cpu_data, X86_FEATURE_GBPAGES);
	mm_kobj = kobject_create_and_add("mm", NULL);
	for (nid = 0; nid < nodes; nid++) {
		node_devices[nid] = kzalloc(sizeof(struct node), GFP_KERNEL);
		node_devices[nid]->dev.id = nid;
		node_devices[nid]->dev.kobj.name = "node";
	}
}

struct pid_namespace *task_active_pid_ns(struct task_struct *task)
{
	return &init_pid_ns;
}
