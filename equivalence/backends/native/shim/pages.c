/* Fidelity: CUSTOM
 * Physical memory: nodes, zone lists, struct pages and a page allocator whose
 * choice is canonical (lowest free block of the first node that may serve). */
#include "nhk.h"
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/gfp.h>
#include <linux/hugetlb.h>
#include <linux/pageblock-flags.h>
#include <linux/memory_hotplug.h>
#include <linux/cpumask.h>
#include <linux/topology.h>
#include <linux/highmem.h>
#include <linux/vmstat.h>
#include <linux/page-flags.h>
#include "internal.h"

#define BLOCK_ORDER 9
#define BLOCK_PAGES (1UL << BLOCK_ORDER)
#define NODE_BLOCKS 4096UL /* 8 GiB a node */
#define NODE_PAGES (NODE_BLOCKS * BLOCK_PAGES)
#define SMALL_BLOCKS 64UL /* at the start of each node, for orders below a block */

unsigned int nh_node_count;
struct nh_page_failure nh_page_failure[NH_MAX_NODES];
unsigned long nh_huge_limit[NH_MAX_NODES];
u64 nh_effects;

static struct pglist_data nodes[NH_MAX_NODES];
static unsigned char block_taken[NH_MAX_NODES][NODE_BLOCKS];
static unsigned short block_name[NH_MAX_NODES * NODE_BLOCKS];
static unsigned short next_name;
static unsigned long blocks_used[NH_MAX_NODES];
static unsigned long small_next[NH_MAX_NODES];
static unsigned long small_spare[NH_MAX_NODES][BLOCK_ORDER]; /* pfn lists through page->private */
static struct per_cpu_zonestat zone_stats[NH_MAX_NODES];
static struct per_cpu_nodestat node_stats[NH_MAX_NODES];
static struct per_cpu_pages page_sets[NH_MAX_NODES];

static void effect(u64 what, u64 a, u64 b)
{
	nh_effects = (nh_effects ^ (what * 0x9e3779b97f4a7c15ULL + a * 0xc2b2ae3d27d4eb4fULL + b)) *
		     0x100000001b3ULL;
}

unsigned int nh_folio_name(unsigned long pfn)
{
	unsigned long block = pfn >> BLOCK_ORDER;

	if (block >= ARRAY_SIZE(block_name))
		return 0xffff;
	if (!block_name[block])
		block_name[block] = ++next_name;
	return block_name[block];
}

static void prepare_pages(struct page *page, unsigned long count, int nid)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		struct page *at = page + i;

		__builtin_memset(at, 0, sizeof(*at));
		set_page_links(at, ZONE_NORMAL, nid, page_to_pfn(at));
		atomic_set(&at->_mapcount, -1);
		INIT_LIST_HEAD(&at->lru);
	}
}

static bool refused(int nid)
{
	struct nh_page_failure *failure = &nh_page_failure[nid];

	if (!failure->count)
		return false;
	if (failure->skip > 0) {
		failure->skip--;
		return false;
	}
	if (failure->count > 0)
		failure->count--;
	return true;
}

static struct page *take_blocks(int nid, unsigned long count)
{
	unsigned long i, run = 0;

	if (blocks_used[nid] + count > nh_huge_limit[nid])
		return NULL;
	for (i = SMALL_BLOCKS; i < NODE_BLOCKS; i++) {
		if (!run && (i & (count - 1)))
			continue;
		run = block_taken[nid][i] ? 0 : run + 1;
		if (run == count) {
			unsigned long first = i + 1 - count;

			memset(&block_taken[nid][first], 1, count);
			blocks_used[nid] += count;
			return pfn_to_page(nid * NODE_PAGES + first * BLOCK_PAGES);
		}
	}
	return NULL;
}

static struct page *take_small(int nid, unsigned int order)
{
	unsigned long pfn = small_spare[nid][order];

	if (pfn) {
		small_spare[nid][order] = page_private(pfn_to_page(pfn));
		return pfn_to_page(pfn);
	}
	pfn = ALIGN(small_next[nid] ? small_next[nid] : 1, 1UL << order);
	if (pfn + (1UL << order) > SMALL_BLOCKS * BLOCK_PAGES)
		nh_fatal(NH_UNMODELLED, "the shim's area for page tables is full", pfn);
	small_next[nid] = pfn + (1UL << order);
	return pfn_to_page(nid * NODE_PAGES + pfn);
}

static struct page *alloc_from(int nid, unsigned int order, gfp_t gfp)
{
	struct page *page;

	if (order >= BLOCK_ORDER) {
		if (refused(nid))
			return NULL;
		page = take_blocks(nid, 1UL << (order - BLOCK_ORDER));
	} else {
		page = take_small(nid, order);
	}
	if (!page)
		return NULL;
	prepare_pages(page, 1UL << order, nid);
	set_page_count(page, 1);
	if (order && (gfp & __GFP_COMP))
		prep_compound_page(page, order);
	if (order < BLOCK_ORDER && (gfp & __GFP_ZERO))
		memset(page_address(page), 0, PAGE_SIZE << order);
	return page;
}

static struct page *alloc_any(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	struct zonelist *list;
	struct zoneref *ref;
	struct zone *zone;
	struct page *page = NULL;

	if (nid == NUMA_NO_NODE)
		nid = numa_node_id();
	VM_BUG_ON(nid < 0 || nid >= MAX_NUMNODES);
	if (order >= BLOCK_ORDER)
		effect(1, (u64)(u32)gfp << 32 | order, (u64)nid << 32 | (mask ? nodes_addr(*mask)[0] : 0));
	list = node_zonelist(nid, gfp);
	for_each_zone_zonelist_nodemask (zone, ref, list, ZONE_NORMAL, mask) {
		page = alloc_from(zone_to_nid(zone), order, gfp);
		if (page)
			break;
	}
	return page;
}

static void give_back(struct page *page, unsigned int order)
{
	unsigned long pfn = page_to_pfn(page), i;
	int nid = page_to_nid(page);

	if (unlikely(page_ref_count(page) || page->mapping || atomic_read(&page->_mapcount) != -1))
		nh_warn(__func__, "a page was freed that is still in use");
	if (order >= BLOCK_ORDER) {
		unsigned long first = (pfn - nid * NODE_PAGES) >> BLOCK_ORDER;
		unsigned long count = 1UL << (order - BLOCK_ORDER);

		effect(2, nid, order);
		for (i = 0; i < count; i++) {
			if (!block_taken[nid][first + i])
				nh_fatal(NH_CORRUPTION, "a huge page was freed twice", pfn);
			block_taken[nid][first + i] = 0;
			block_name[(pfn >> BLOCK_ORDER) + i] = 0;
		}
		blocks_used[nid] -= count;
	} else {
		page->flags = 0;
		set_page_links(page, ZONE_NORMAL, nid, pfn);
		set_page_private(page, small_spare[nid][order]);
		small_spare[nid][order] = pfn;
	}
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
struct page *__alloc_pages_noprof(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	return alloc_any(gfp, order, nid, mask);
}
struct folio *__folio_alloc_noprof(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	return (struct folio *)alloc_any(gfp | __GFP_COMP, order, nid, mask);
}
unsigned long get_free_pages_noprof(gfp_t gfp, unsigned int order)
{
	struct page *page = alloc_any(gfp, order, numa_node_id(), NULL);

	return page ? (unsigned long)page_address(page) : 0;
}
unsigned long get_zeroed_page_noprof(gfp_t gfp)
{
	return get_free_pages_noprof(gfp | __GFP_ZERO, 0);
}
#else
struct page *__alloc_pages(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	return alloc_any(gfp, order, nid, mask);
}
struct folio *__folio_alloc(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	return (struct folio *)alloc_any(gfp | __GFP_COMP, order, nid, mask);
}
unsigned long __get_free_pages(gfp_t gfp, unsigned int order)
{
	struct page *page = alloc_any(gfp, order, numa_node_id(), NULL);

	return page ? (unsigned long)page_address(page) : 0;
}
unsigned long get_zeroed_page(gfp_t gfp)
{
	return __get_free_pages(gfp | __GFP_ZERO, 0);
}
void free_unref_page_list(struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry_safe (page, next, list, lru)
		give_back(page, 0);
}
void destroy_large_folio(struct folio *folio)
{
	if (folio_test_hugetlb(folio))
		free_huge_page(&folio->page);
	else
		give_back(&folio->page, folio_order(folio));
}
#endif

void __free_pages(struct page *page, unsigned int order)
{
	if (put_page_testzero(page))
		give_back(page, order);
}
void free_pages(unsigned long address, unsigned int order)
{
	if (address)
		__free_pages(virt_to_page((void *)address), order);
}
void free_unref_page(struct page *page, unsigned int order)
{
	give_back(page, order);
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
void free_unref_folios(struct folio_batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		give_back(&batch->folios[i]->page, folio_order(batch->folios[i]));
	folio_batch_reinit(batch);
}
#endif

/* Gigantic pages: a run of blocks. */
static struct page *alloc_contig(unsigned long count, gfp_t gfp, int nid, nodemask_t *mask)
{
	struct zone *zone;
	struct zoneref *ref;
	struct page *page;
	unsigned long i;

	if (count < BLOCK_PAGES)
		return NULL;
	effect(3, (u64)(u32)gfp, (u64)nid << 32 | count);
	for_each_zone_zonelist_nodemask (zone, ref, node_zonelist(nid, gfp), ZONE_NORMAL, mask) {
		int at = zone_to_nid(zone);

		if (refused(at))
			continue;
		page = take_blocks(at, count / BLOCK_PAGES);
		if (!page)
			continue;
		prepare_pages(page, count, at);
		if (gfp & __GFP_COMP) {
			set_page_count(page, 1);
			prep_compound_page(page, ilog2(count));
		} else {
			for (i = 0; i < count; i++)
				set_page_count(page + i, 1);
		}
		return page;
	}
	return NULL;
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
struct page *alloc_contig_pages_noprof(unsigned long count, gfp_t gfp, int nid, nodemask_t *mask)
{
	return alloc_contig(count, gfp, nid, mask);
}
#else
struct page *alloc_contig_pages(unsigned long count, gfp_t gfp, int nid, nodemask_t *mask)
{
	return alloc_contig(count, gfp, nid, mask);
}
#endif
void free_contig_range(unsigned long pfn, unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++)
		set_page_count(pfn_to_page(pfn + i), 0);
	give_back(pfn_to_page(pfn), ilog2(count));
}

/* Contents: only the first word of a huge page is kept, which is all that a
 * touch reads or writes; a small page (a page table) is cleared whole. */
static bool in_huge_area(const void *address)
{
	unsigned long offset = (unsigned long)address - (unsigned long)nh_direct_map;

	return (offset / PAGE_SIZE) % NODE_PAGES >= SMALL_BLOCKS * BLOCK_PAGES;
}
/* called from assembly that saves next to nothing */
#define CALLED_FROM_ASM __attribute__((no_caller_saved_registers))
CALLED_FROM_ASM void clear_page_orig(void *page)
{
	if (!in_huge_area(page))
		memset(page, 0, PAGE_SIZE);
	else if (!((unsigned long)page & ((PAGE_SIZE << BLOCK_ORDER) - 1)))
		*(u64 *)page = 0;
}
CALLED_FROM_ASM void clear_page_rep(void *page)
{
	clear_page_orig(page);
}
CALLED_FROM_ASM void clear_page_erms(void *page)
{
	clear_page_orig(page);
}
void copy_page(void *to, void *from)
{
	if (!in_huge_area(to))
		memcpy(to, from, PAGE_SIZE);
	else if (!((unsigned long)to & ((PAGE_SIZE << BLOCK_ORDER) - 1)))
		*(u64 *)to = *(u64 *)from;
}
unsigned long copy_mc_to_kernel(void *to, const void *from, unsigned int bytes)
{
	copy_page(to, (void *)from);
	return 0;
}

/* Whole huge pages, without a step for each of their base pages. */
static void zero_word(struct folio *folio)
{
	*(u64 *)page_address(&folio->page) = 0;
}
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
void folio_zero_user(struct folio *folio, unsigned long hint)
{
	might_sleep();
	zero_word(folio);
}
#else
void clear_huge_page(struct page *page, unsigned long hint, unsigned int pages)
{
	might_sleep();
	zero_word(page_folio(page));
}
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
int folio_mc_copy(struct folio *to, struct folio *from)
{
	might_sleep();
	if (nh_page_copy_fails())
		return -EHWPOISON;
	copy_page(page_address(&to->page), page_address(&from->page));
	return 0;
}
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
int copy_user_large_folio(struct folio *to, struct folio *from, unsigned long hint,
			  struct vm_area_struct *vma)
{
	might_sleep();
	if (nh_page_copy_fails())
		return -EHWPOISON;
	copy_page(page_address(&to->page), page_address(&from->page));
	return 0;
}
#else
void copy_user_huge_page(struct page *to, struct page *from, unsigned long hint,
			 struct vm_area_struct *vma, unsigned int pages)
{
	might_sleep();
	copy_page(page_address(to), page_address(from));
}
#endif

/* The nodes themselves. */
struct pglist_data *node_data[MAX_NUMNODES];
DEFINE_PER_CPU(int, numa_node);
nodemask_t node_states[NR_NODE_STATES];
unsigned int nr_node_ids = NH_MAX_NODES;
unsigned int nr_online_nodes = 1;

void nh_set_cpu_node(int nid)
{
	numa_node = nid;
}

void nh_put_pages(void)
{
	unsigned long nid, block;

	for (nid = 0; nid < nh_node_count; nid++) {
		nh_put(nh_page_failure[nid].skip);
		nh_put(nh_page_failure[nid].count);
		nh_put(blocks_used[nid]);
		for (block = 0; hugetlb_max_hstate > 1 && block < NODE_BLOCKS; block++)
			if (block_taken[nid][block])
				nh_put(block);
	}
}

int nh_cpu_node(void)
{
	return numa_node;
}

void nh_boot_memory(unsigned int count)
{
	unsigned int nid, step, state;

	nh_node_count = count;
	nr_node_ids = count;
	nr_online_nodes = count;
	for (nid = 0; nid < NH_MAX_NODES; nid++) {
		struct pglist_data *node = &nodes[nid];
		struct zone *zone = &node->node_zones[ZONE_NORMAL];

		if (!nh_huge_limit[nid])
			nh_huge_limit[nid] = NODE_BLOCKS - SMALL_BLOCKS;
		node->node_id = nid;
		node->nr_zones = MAX_NR_ZONES;
		node->node_start_pfn = nid * NODE_PAGES;
		node->node_present_pages = node->node_spanned_pages = NODE_PAGES;
		node->per_cpu_nodestats = &node_stats[nid];
		spin_lock_init(&node->__lruvec.lru_lock);
		for (step = 0; step < NR_LRU_LISTS; step++)
			INIT_LIST_HEAD(&node->__lruvec.lists[step]);
		for (step = 0; step < MAX_NR_ZONES; step++) {
			node->node_zones[step].zone_pgdat = node;
			node->node_zones[step].node = nid;
			node->node_zones[step].per_cpu_zonestats = &zone_stats[nid];
			node->node_zones[step].per_cpu_pageset = &page_sets[nid];
			node->node_zones[step].name = "Normal";
		}
		zone->zone_start_pfn = node->node_start_pfn;
		zone->spanned_pages = zone->present_pages = NODE_PAGES;
		atomic_long_set(&zone->managed_pages, NODE_PAGES);
		node_data[nid] = node;
	}
	for (nid = 0; nid < count; nid++) {
		struct zonelist *all = &nodes[nid].node_zonelists[ZONELIST_FALLBACK];
		struct zonelist *own = &nodes[nid].node_zonelists[ZONELIST_NOFALLBACK];

		/* the node itself, then the others by rising distance: round the ring */
		for (step = 0; step < count; step++) {
			unsigned int other = (nid + step) % count;

			all->_zonerefs[step].zone = &nodes[other].node_zones[ZONE_NORMAL];
			all->_zonerefs[step].zone_idx = ZONE_NORMAL;
		}
		all->_zonerefs[count].zone = NULL;
		own->_zonerefs[0].zone = &nodes[nid].node_zones[ZONE_NORMAL];
		own->_zonerefs[0].zone_idx = ZONE_NORMAL;
		own->_zonerefs[1].zone = NULL;
		for (state = 0; state < NR_NODE_STATES; state++)
			node_set(nid, node_states[state]);
	}
}
