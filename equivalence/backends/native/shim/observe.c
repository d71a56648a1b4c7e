/* Fidelity: CUSTOM
 * The canonical state as a stream of words in sections: hashed always, and
 * written down when asked for. Lists are bracketed, so that two different states
 * never give one stream. */
#include "driver.h"
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/fdtable.h>
#include <linux/statfs.h>
#include <linux/mempolicy.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/page_counter.h>

#define OPEN 0x4e48000000000001ULL
#define CLOSE 0x4e48000000000002ULL

enum section {
	COUNTERS, NODES, LISTS, SUBPOOLS, RESERVATIONS, PAGE_CACHE, PAGE_TABLES, VMAS, CGROUPS_SECTION,
	USER, POLICY, EFFECTS
};

static struct {
	u64 hash;
	u64 *at, *end;
	bool full;
} out;

static __always_inline void put(u64 word)
{
	out.hash = ((out.hash << 5 | out.hash >> 59) ^ word) * 0x9e3779b97f4a7c15ULL;
	if (out.at) {
		if (out.at < out.end)
			*out.at++ = word;
		else
			out.full = true;
	}
}
static __always_inline void open_list(void)
{
	put(OPEN);
}
static __always_inline void close_list(void)
{
	put(CLOSE);
}

void nh_put(u64 word)
{
	put(word);
}

/* In a key what history has named is named again, by where it is met first. */
static bool canonical;

static u64 folio_word(unsigned long pfn)
{
	return canonical ? nh_name_of_pfn(pfn) : nh_folio_name(pfn);
}
static u64 data_word(u64 word)
{
	return canonical && word ? nh_renamed(NH_DATA, word) : word;
}
static u64 css_word(struct cgroup_subsys_state *css)
{
	return canonical && css ? nh_renamed(NH_GROUP, (unsigned long)css) : nh_cgroup_serial(css);
}

/* Shared reservation maps belong to an inode, private ones to a vma. */
static struct resv_map *inode_map(struct inode *inode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	return inode->i_data.i_private_data;
#else
	return inode->i_data.private_data;
#endif
}

static void put_resv_map(struct resv_map *map)
{
	struct file_region *region;

	open_list();
	put(kref_read(&map->refs));
	put(map->adds_in_progress);
	put(map->region_cache_count);
	put(map->pages_per_hpage);
	put(css_word(map->css));
	open_list();
	list_for_each_entry (region, &map->regions, link) {
		put(region->from);
		put(region->to);
		put(css_word(region->css));
	}
	close_list();
	close_list();
}

static void put_folio_state(struct folio *folio)
{
	struct hugetlb_cgroup *group = hugetlb_cgroup_from_folio(folio);
	struct hugetlb_cgroup *reserved = hugetlb_cgroup_from_folio_rsvd(folio);

	open_list();
	put(folio_word(folio_pfn(folio)));
	put(folio_nid(folio));
	put(folio_ref_count(folio));
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	put((u64)folio_entire_mapcount(folio));
	put((folio_test_hugetlb_restore_reserve(folio) ? 1 : 0) |
	    (folio_test_hugetlb_migratable(folio) ? 2 : 0) |
	    (folio_test_hugetlb_temporary(folio) ? 4 : 0) | (folio_test_hugetlb_freed(folio) ? 8 : 0) |
	    (folio_test_anon(folio) ? 16 : 0) | (folio_test_locked(folio) ? 32 : 0) |
	    (folio_test_dirty(folio) ? 64 : 0) | (folio_test_uptodate(folio) ? 128 : 0) |
	    (hugetlb_folio_subpool(folio) ? 256 : 0));
#else
	put((u64)(atomic_read(folio_mapcount_ptr(folio)) + 1));
	put((HPageRestoreReserve(&folio->page) ? 1 : 0) | (HPageMigratable(&folio->page) ? 2 : 0) |
	    (HPageTemporary(&folio->page) ? 4 : 0) | (HPageFreed(&folio->page) ? 8 : 0) |
	    (folio_test_anon(folio) ? 16 : 0) | (folio_test_locked(folio) ? 32 : 0) |
	    (folio_test_dirty(folio) ? 64 : 0) | (folio_test_uptodate(folio) ? 128 : 0) |
	    (hugetlb_page_subpool(&folio->page) ? 256 : 0));
#endif
	put(group ? css_word(&group->css) : 0);
	put(reserved ? css_word(&reserved->css) : 0);
	close_list();
}

static void observe_counters(void)
{
	unsigned int i;

	for (i = 0; i < hugetlb_max_hstate; i++) {
		struct hstate *h = &hstates[i];

		open_list();
		put(huge_page_order(h));
		put(h->nr_huge_pages);
		put(h->free_huge_pages);
		put(h->resv_huge_pages);
		put(h->surplus_huge_pages);
		put(h->nr_overcommit_huge_pages);
		put(h->max_huge_pages);
		close_list();
	}
}

static void observe_nodes(void)
{
	unsigned int i, nid;

	for (i = 0; i < hugetlb_max_hstate; i++) {
		struct hstate *h = &hstates[i];

		open_list();
		put(h->next_nid_to_alloc);
		put(h->next_nid_to_free);
		for (nid = 0; nid < nh_node_count; nid++) {
			put(h->nr_huge_pages_node[nid]);
			put(h->free_huge_pages_node[nid]);
			put(h->surplus_huge_pages_node[nid]);
		}
		close_list();
	}
}

static void put_list(struct list_head *list)
{
	struct list_head *at;
	unsigned int bound = 0;

	open_list();
	list_for_each (at, list) {
		put_folio_state((struct folio *)container_of(at, struct page, lru));
		if (++bound > 1U << 20)
			nh_fatal(NH_CORRUPTION, "a list of huge pages never ends", 0);
	}
	close_list();
}

static void observe_lists(void)
{
	unsigned int i, nid;

	for (i = 0; i < hugetlb_max_hstate; i++) {
		struct hstate *h = &hstates[i];

		open_list();
		for (nid = 0; nid < nh_node_count; nid++)
			put_list(&h->hugepage_freelists[nid]);
		put_list(&h->hugepage_activelist);
		close_list();
	}
}

static struct file_system_type *hugetlbfs_type;

#define for_each_hugetlbfs(sb)                                                                    \
	if (!hugetlbfs_type)                                                                       \
		hugetlbfs_type = get_fs_type("hugetlbfs");                                         \
	hlist_for_each_entry (sb, &hugetlbfs_type->fs_supers, s_instances)

static void observe_subpools(void)
{
	unsigned int i;

	for (i = 0; i < MOUNTS; i++) {
		struct hugepage_subpool *pool;

		if (!nh_mounts[i].used || !nh_mounts[i].sb)
			continue;
		open_list();
		put(i);
		pool = HUGETLBFS_SB(nh_mounts[i].sb)->spool;
		if (pool) {
			put(pool->count);
			put(pool->max_hpages);
			put(pool->used_hpages);
			put(pool->min_hpages);
			put(pool->rsv_hpages);
		}
		close_list();
	}
}

static void observe_files(void)
{
	struct super_block *sb;
	struct inode *inode;

	for_each_hugetlbfs (sb) {
		open_list();
		list_for_each_entry_reverse (inode, &sb->s_inodes, i_sb_list) {
			if (!S_ISREG(inode->i_mode) || !inode_map(inode))
				continue;
			put_resv_map(inode_map(inode));
		}
		close_list();
	}
}

static void observe_page_cache(void)
{
	struct super_block *sb;
	struct inode *inode;

	for_each_hugetlbfs (sb) {
		list_for_each_entry_reverse (inode, &sb->s_inodes, i_sb_list) {
			XA_STATE(state, &inode->i_data.i_pages, 0);
			struct folio *folio;

			if (!S_ISREG(inode->i_mode))
				continue;
			open_list();
			put(i_size_read(inode) >> 21);
			put(inode->i_blocks);
			put(inode->i_nlink);
			put(inode->i_data.nrpages);
			xas_for_each (&state, folio, ULONG_MAX) {
				if (xa_is_value(folio))
					continue;
				put(state.xa_index >> (folio_order(folio) - (folio_order(folio) > 9 ? 9 : 0)));
				put(folio_word(folio_pfn(folio)));
				put(data_word(*(u64 *)folio_address(folio)));
			}
			close_list();
		}
	}
}

/* One page of a mapping: 0 nothing, 1 a special entry, else name, node, rights. */
static void put_entry(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	unsigned long entry = 0;

	if (!pgd_none(*pgd)) {
		p4d = p4d_offset(pgd, address);
		if (!p4d_none(*p4d)) {
			pud = pud_offset(p4d, address);
			entry = pud_val(*pud);
			if (entry && !(entry & _PAGE_PSE) && (entry & _PAGE_PRESENT)) {
				pmd = pmd_offset(pud, address);
				entry = pmd_val(*pmd);
			}
		}
	}
	if (!entry) {
		put(0);
	} else if (!(entry & (_PAGE_PRESENT | _PAGE_PROTNONE))) {
		put(1);
	} else {
		unsigned long pfn = pte_pfn(__pte(entry));

		put(2 | (entry & _PAGE_RW ? 4 : 0) | (entry & _PAGE_DIRTY ? 8 : 0) |
		    (entry & _PAGE_PRESENT ? 16 : 0) | folio_word(pfn) << 8 |
		    (u64)page_to_nid(pfn_to_page(pfn)) << 32);
		put(data_word(*(u64 *)page_address(pfn_to_page(pfn))));
	}
}

static void observe_page_tables(void)
{
	unsigned int i, slot, page;

	for (i = 0; i < PROCS; i++) {
		struct nh_proc *proc = &nh_procs[i];

		if (!proc->task)
			continue;
		open_list();
		put(i);
		for (slot = 0; slot < MAPS; slot++) {
			struct nh_map *map = &proc->map[slot];

			if (!map->used)
				continue;
			open_list();
			put(map->name);
			put(map->lost);
			for (page = 0; page < map->length; page++)
				put_entry(proc->task->mm,
					  nh_map_address(slot) + page * nh_map_page_bytes(map));
			close_list();
		}
		close_list();
	}
}

static void observe_vmas(void)
{
	unsigned int i;

	for (i = 0; i < PROCS; i++) {
		struct nh_proc *proc = &nh_procs[i];
		struct vm_area_struct *vma;

		if (!proc->task)
			continue;
		open_list();
		put(i);
		{
			VMA_ITERATOR(at, proc->task->mm, 0);
			for_each_vma (at, vma) {
				unsigned long state = (unsigned long)vma->vm_private_data;

				open_list();
				put(vma->vm_start >> 21);
				put(vma->vm_end >> 21);
				put(vma->vm_pgoff);
				put(vma->vm_flags);
				put(vma->anon_vma ? 1 : 0);
				if (is_vm_hugetlb_page(vma) && !(vma->vm_flags & VM_MAYSHARE)) {
					put(state & 3);
					if (state & ~3UL)
						put_resv_map((struct resv_map *)(state & ~3UL));
				} else {
					put(state ? 1 : 0);
				}
				close_list();
			}
		}
		close_list();
	}
}

static void observe_cgroups(void)
{
	unsigned int i, h;

	for (i = 0; i < CGROUPS; i++) {
		struct cgroup_subsys_state *css = nh_cgroup_named[i] ? nh_cgroup_css(i) : NULL;
		struct hugetlb_cgroup *group;

		if (!css)
			continue;
		group = container_of(css, struct hugetlb_cgroup, css);
		open_list();
		put(i);
		for (h = 0; h < hugetlb_max_hstate; h++) {
			put(page_counter_read(&group->hugepage[h]) >> huge_page_order(&hstates[h]));
			put(page_counter_read(&group->rsvd_hugepage[h]) >> huge_page_order(&hstates[h]));
			put(group->hugepage[h].max == PAGE_COUNTER_MAX ||
					    group->hugepage[h].max >= (PAGE_COUNTER_MAX >> huge_page_order(&hstates[h]))
								       << huge_page_order(&hstates[h]) ?
				    ~0ULL :
				    group->hugepage[h].max >> huge_page_order(&hstates[h]));
			put(group->rsvd_hugepage[h].max >= (PAGE_COUNTER_MAX >> huge_page_order(&hstates[h]))
								   << huge_page_order(&hstates[h]) ?
				    ~0ULL :
				    group->rsvd_hugepage[h].max >> huge_page_order(&hstates[h]));
			if (!canonical) /* only ever grows */
				put(atomic_long_read(&group->events[h][HUGETLB_MAX]));
		}
		close_list();
	}
}

/* What user space can read of mounts, files and processes. */
static void observe_user(void)
{
	unsigned int i, j;

	open_list();
	for (i = 0; i < MOUNTS; i++) {
		struct kstatfs buf = {};
		struct super_block *sb = nh_mounts[i].sb;

		if (!nh_mounts[i].used || !sb)
			continue;
		open_list();
		put(i);
		sb->s_op->statfs(sb->s_root, &buf);
		put(buf.f_blocks);
		put(buf.f_bfree);
		put(buf.f_bavail);
		close_list();
	}
	close_list();
	for (i = 0; i < PROCS; i++) {
		struct nh_proc *proc = &nh_procs[i];

		if (!proc->task)
			continue;
		open_list();
		put(i);
		put(atomic_long_read(&proc->task->mm->hugetlb_usage) >> 9);
		for (j = 0; j < FDS; j++) {
			struct inode *inode;

			if (proc->fd[j] < 0)
				continue;
			inode = file_inode(files_lookup_fd_raw(proc->task->files, proc->fd[j]));
			open_list();
			put(j);
			put(i_size_read(inode) / huge_page_size(hstate_inode(inode)));
			put(inode->i_blocks / (huge_page_size(hstate_inode(inode)) / 512));
			put(inode->i_nlink);
			close_list();
		}
		close_list();
	}
}

/* Of the cursor, only the next node matters, and only to policies that use it. */
static u64 next_turn(struct task_struct *task)
{
	if (task->mempolicy->mode != MPOL_INTERLEAVE)
		return 0;
	return next_node_in(task->il_prev, task->mempolicy->nodes);
}

static void observe_policy(void)
{
	unsigned int i;

	for (i = 0; i < PROCS; i++) {
		struct nh_proc *proc = &nh_procs[i];
		struct mempolicy *policy;

		if (!proc->task)
			continue;
		open_list();
		put(i);
		put(proc->cpu);
		policy = proc->task->mempolicy;
		if (policy) {
			put(policy->mode);
			put(policy->flags);
			put(nodes_addr(policy->nodes)[0]);
			put(canonical ? next_turn(proc->task) : proc->task->il_prev);
		}
		close_list();
	}
}

/* A refused operation never reached the kernel: the state is the one before. */
void nh_observe_again(struct nh_result *result, const struct nh_result *before)
{
	memcpy(result->digest, before->digest, sizeof(result->digest));
	out.at = NULL;
	out.hash = 0x6e61746976650000ULL + EFFECTS;
	open_list();
	put(nh_effects);
	close_list();
	result->digest[EFFECTS] = out.hash;
}

static void digest_all(u64 *digest)
{
	unsigned int section;

	for (section = 0; section < NH_SECTIONS; section++) {
		out.hash = 0x6e61746976650000ULL + section;
		open_list();
		switch (section) {
		case COUNTERS: observe_counters(); break;
		case NODES: observe_nodes(); break;
		case PAGE_TABLES: observe_page_tables(); break;
		case LISTS: observe_lists(); break;
		case SUBPOOLS: observe_subpools(); break;
		case RESERVATIONS: observe_files(); break;
		case PAGE_CACHE: observe_page_cache(); break;
		case VMAS: observe_vmas(); break;
		case CGROUPS_SECTION: observe_cgroups(); break;
		case USER: observe_user(); break;
		case POLICY: observe_policy(); break;
		case EFFECTS:
			if (canonical)
				nh_put_hidden();
			else
				put(nh_effects);
			break;
		}
		close_list();
		digest[section] = out.hash;
	}
}

void nh_observe(struct nh_trace *trace, struct nh_result *result, bool words)
{
	u64 *base = (u64 *)(nh_shared + trace->observation_offset);

	if (words) {
		out.at = base + trace->observation_used;
		out.end = base + trace->observation_capacity;
	} else {
		out.at = NULL;
	}
	result->observation = words ? trace->observation_used : 0;
	digest_all(result->digest);
	if (out.full)
		nh_fatal(NH_UNMODELLED, "the room for observations is used up", 0);
	if (out.at) {
		result->observation_words = out.at - base - trace->observation_used;
		trace->observation_used = out.at - base;
	}
}

/* The state without history: states of one key behave alike. */
void nh_key(struct nh_trace *trace)
{
	out.at = NULL;
	nh_forget_names();
	canonical = true;
	digest_all(trace->key);
	canonical = false;
}
