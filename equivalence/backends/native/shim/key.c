/* Fidelity: CUSTOM
 * What a key has beyond a digest: names given by order, and what decides later
 * behaviour without being compared. */
#include "driver.h"
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/cgroup.h>
#include <linux/dcache.h>
#include <linux/fdtable.h>
#include <linux/mempolicy.h>
#include <linux/page_counter.h>
#include <linux/rmap.h>

#define NAMES 8192

static struct {
	u64 kind, value;
} names[NAMES];
static unsigned int count;

void nh_forget_names(void)
{
	count = 0;
}

/* The number of a value among those of its kind, from 1. */
u64 nh_renamed(enum nh_named kind, u64 value)
{
	u64 number = 1;
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (names[i].kind != kind)
			continue;
		if (names[i].value == value)
			return number;
		number++;
	}
	if (count == NAMES)
		nh_fatal(NH_UNMODELLED, "more names in one state than the shim has room for", count);
	names[count].kind = kind;
	names[count++].value = value;
	return number;
}

/* Where blocks of two sizes are taken it matters which frames are free. */
u64 nh_name_of_pfn(unsigned long pfn)
{
	return hugetlb_max_hstate > 1 ? pfn : nh_renamed(NH_FOLIO, pfn);
}

static bool seen(enum nh_named kind, u64 value)
{
	unsigned int before = count;

	nh_put(value ? nh_renamed(kind, value) : 0);
	return !value || count == before;
}

static void put_counter(struct page_counter *counter)
{
	nh_put(page_counter_read(counter));
	nh_put(counter->max);
}

/* A group, a removed one too, as long as something is charged to it. */
static void put_group(struct cgroup_subsys_state *css)
{
	struct hugetlb_cgroup *group;
	unsigned int i;

	if (seen(NH_GROUP_HELD, (unsigned long)css))
		return;
	nh_put(nh_renamed(NH_GROUP, (unsigned long)css));
	nh_put(css->flags & CSS_ONLINE);
	group = container_of(css, struct hugetlb_cgroup, css);
	for (i = 0; i < hugetlb_max_hstate; i++) {
		put_counter(&group->hugepage[i]);
		put_counter(&group->rsvd_hugepage[i]);
	}
}

static void put_policy(struct mempolicy *policy)
{
	nh_put(policy ? policy->mode + 1 : 0);
	if (policy) {
		nh_put(policy->flags);
		nh_put(nodes_addr(policy->nodes)[0]);
	}
}

static void put_inode(struct inode *inode)
{
	struct vm_area_struct *vma;

	if (seen(NH_INODE, (unsigned long)inode))
		return;
	nh_put(nh_renamed(NH_SUPER, (unsigned long)inode->i_sb));
	nh_put(inode->i_flags);
	nh_put(inode->i_mode);
	nh_put(HUGETLBFS_I(inode)->seals);
	vma_interval_tree_foreach(vma, &inode->i_mapping->i_mmap, 0, ULONG_MAX)
		nh_put(nh_renamed(NH_VMA, (unsigned long)vma));
}

static void put_file(struct file *file)
{
	if (seen(NH_FILE, (unsigned long)file))
		return;
	nh_put((__force u64)(file->f_mode & ~FMODE_CREATED)); /* read when it is opened only */
	if (is_file_hugepages(file))
		put_inode(file_inode(file));
}

static void put_proc(struct nh_proc *proc)
{
	struct anon_vma_chain *link;
	struct vm_area_struct *vma;
	struct nh_pin *pin;
	unsigned int i;
	VMA_ITERATOR(at, proc->task->mm, 0);

	put_group(task_css_check(proc->task, hugetlb_cgrp_id, true));
	nh_put(atomic_read(&proc->task->mm->mm_users));
	for (i = 0; i < MAPS; i++)
		nh_put(proc->map[i].used ? proc->map[i].name + 1 : 0);
	for (i = 0; i < FDS; i++)
		if (proc->fd[i] >= 0) {
			nh_put(i + 1);
			put_file(files_lookup_fd_raw(proc->task->files, proc->fd[i]));
		}
	for_each_vma (at, vma) {
		nh_put(nh_renamed(NH_VMA, (unsigned long)vma));
		if (vma->vm_file)
			put_file(vma->vm_file);
		put_policy(vma->vm_policy);
		nh_put(vma->anon_vma ? nh_renamed(NH_ANON, (unsigned long)vma->anon_vma) : 0);
		list_for_each_entry (link, &vma->anon_vma_chain, same_vma)
			nh_put(nh_renamed(NH_ANON, (unsigned long)link->anon_vma));
	}
	for (pin = proc->pins; pin; pin = pin->next) {
		nh_put(pin->name + 1);
		nh_put(pin->count);
		for (i = 0; i < pin->count; i++)
			nh_put(nh_name_of_pfn(page_to_pfn(pin->page[i])));
	}
}

static void put_folios(struct list_head *list)
{
	struct list_head *at;

	list_for_each (at, list) {
		struct page *page = container_of(at, struct page, lru);

		nh_put(PageAnon(page));
		if (PageAnon(page)) {
			nh_put(PageAnonExclusive(page));
			nh_put(nh_renamed(NH_ANON, (unsigned long)page->mapping & ~3UL));
			nh_put(page->index);
		}
	}
}

static void put_supers(void)
{
	struct file_system_type *type = get_fs_type("hugetlbfs");
	struct super_block *sb;
	unsigned int i;

	hlist_for_each_entry (sb, &type->fs_supers, s_instances) {
		struct hugetlbfs_sb_info *info = HUGETLBFS_SB(sb);
		struct dentry *dentry;
		struct inode *inode;

		nh_put(nh_renamed(NH_SUPER, (unsigned long)sb));
		nh_put(info->max_inodes);
		nh_put(info->free_inodes);
		if (info->spool) {
			nh_put(info->spool->count);
			nh_put(info->spool->used_hpages);
			nh_put(info->spool->rsv_hpages);
		}
		list_for_each_entry_reverse (inode, &sb->s_inodes, i_sb_list)
			if (S_ISREG(inode->i_mode))
				put_inode(inode);
		for (i = 0; i < 26 && sb->s_root; i++) {
			char letter = 'a' + i;
			struct qstr name = QSTR_INIT(&letter, 1);

			name.hash = full_name_hash(sb->s_root, name.name, name.len);
			dentry = d_lookup(sb->s_root, &name);
			if (!dentry)
				continue;
			if (d_inode(dentry)) {
				nh_put(i + 1);
				put_inode(d_inode(dentry));
			}
			dput(dentry);
		}
	}
	for (i = 0; i < MOUNTS; i++)
		nh_put(nh_mounts[i].used ? nh_renamed(NH_SUPER, (unsigned long)nh_mounts[i].sb) : 0);
}

void nh_put_hidden(void)
{
	unsigned int i, nid;

	for (i = 0; i < PROCS; i++)
		if (nh_procs[i].task) {
			nh_put(i + 1);
			put_proc(&nh_procs[i]);
		}
	put_supers();
	for (i = 0; i < hugetlb_max_hstate; i++) {
		for (nid = 0; nid < nh_node_count; nid++)
			put_folios(&hstates[i].hugepage_freelists[nid]);
		put_folios(&hstates[i].hugepage_activelist);
	}
	for (i = 0; i < CGROUPS; i++)
		if (nh_cgroup_named[i])
			put_group(nh_cgroup_css(i));
	nh_put_pages();
	nh_put_failures();
	nh_put(nh_warned);
}
