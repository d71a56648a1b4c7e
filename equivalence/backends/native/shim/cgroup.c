/* Fidelity: CUSTOM
 * Just enough of the cgroup core for one controller: a root, flat groups below
 * it, membership of tasks, and the life cycle of a group's state. */
#include "nhk.h"
#include <linux/cgroup.h>
#include <linux/page_counter.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/percpu-refcount.h>
#include <linux/seq_file.h>
#include <linux/kernfs.h>
#include <linux/workqueue.h>

#define SLOTS 16
#define FILES 32

struct nh_cgroup {
	struct cgroup group;
	struct cgroup_subsys_state *css;
	struct css_set set;
	unsigned int tasks;
	bool alive;
};

struct static_key_true hugetlb_cgrp_subsys_enabled_key = STATIC_KEY_TRUE_INIT;
struct static_key_true hugetlb_cgrp_subsys_on_dfl_key = STATIC_KEY_TRUE_INIT;
static struct nh_cgroup root_group;
static struct nh_cgroup *slots[SLOTS];
static struct cftype *files[FILES];
static unsigned int file_count;
static unsigned long next_serial;

int cgroup_add_dfl_cftypes(struct cgroup_subsys *ss, struct cftype *types)
{
	for (; types->name[0] && file_count < FILES; types++) {
		types->ss = ss;
		files[file_count++] = types;
	}
	return 0;
}

static void start_css(struct cgroup_subsys_state *css, struct cgroup_subsys_state *parent,
		      struct cgroup *group)
{
	css->ss = &hugetlb_cgrp_subsys;
	css->cgroup = group;
	css->parent = parent;
	css->id = hugetlb_cgrp_id;
	css->serial_nr = next_serial++;
	css->flags |= CSS_ONLINE;
	INIT_LIST_HEAD(&css->sibling);
	INIT_LIST_HEAD(&css->children);
	if (parent)
		css_get(parent);
}

static void free_css(struct work_struct *work)
{
	struct cgroup_subsys_state *css =
		container_of(work, struct cgroup_subsys_state, destroy_work);
	struct cgroup_subsys_state *parent = css->parent;

	percpu_ref_exit(&css->refcnt);
	hugetlb_cgrp_subsys.css_free(css);
	if (parent)
		css_put(parent);
}

static void release_css(struct percpu_ref *ref)
{
	struct cgroup_subsys_state *css = container_of(ref, struct cgroup_subsys_state, refcnt);

	css->flags |= CSS_RELEASED;
	INIT_WORK(&css->destroy_work, free_css);
	schedule_work(&css->destroy_work);
}

void nh_boot_cgroups(void)
{
	struct cgroup_subsys_state *css = hugetlb_cgrp_subsys.css_alloc(NULL);

	BUG_ON(IS_ERR(css));
	css->flags |= CSS_NO_REF;
	start_css(css, NULL, &root_group.group);
	root_group.css = css;
	root_group.alive = true;
	root_group.set.subsys[hugetlb_cgrp_id] = css;
	rcu_assign_pointer(root_group.group.subsys[hugetlb_cgrp_id], css);
	rcu_assign_pointer(init_task.cgroups, &root_group.set);
	if (hugetlb_cgrp_subsys.css_online)
		BUG_ON(hugetlb_cgrp_subsys.css_online(css));
}

int nh_cgroup_create(unsigned int slot)
{
	struct nh_cgroup *group;
	struct cgroup_subsys_state *css;

	if (slots[slot])
		return -EEXIST;
	group = kzalloc(sizeof(*group), GFP_KERNEL);
	if (!group)
		return -ENOMEM;
	css = hugetlb_cgrp_subsys.css_alloc(root_group.css);
	if (IS_ERR(css)) {
		kfree(group);
		return PTR_ERR(css);
	}
	start_css(css, root_group.css, &group->group);
	BUG_ON(percpu_ref_init(&css->refcnt, release_css, PERCPU_REF_INIT_ATOMIC, GFP_KERNEL | __GFP_NOFAIL));
	group->css = css;
	group->alive = true;
	group->set.subsys[hugetlb_cgrp_id] = css;
	rcu_assign_pointer(group->group.subsys[hugetlb_cgrp_id], css);
	slots[slot] = group;
	if (hugetlb_cgrp_subsys.css_online)
		return hugetlb_cgrp_subsys.css_online(css);
	return 0;
}

int nh_cgroup_remove(unsigned int slot)
{
	struct nh_cgroup *group = slots[slot];

	if (!group)
		return -ENOENT;
	if (group->tasks)
		return -EBUSY;
	slots[slot] = NULL;
	group->alive = false;
	if (hugetlb_cgrp_subsys.css_offline)
		hugetlb_cgrp_subsys.css_offline(group->css);
	group->css->flags |= CSS_DYING;
	group->css->flags &= ~CSS_ONLINE;
	percpu_ref_kill(&group->css->refcnt);
	return 0;
}

/* the group whose file is being written */
static struct cgroup_subsys_state *writing;

struct cgroup_subsys_state *of_css(struct kernfs_open_file *of)
{
	return writing;
}

/* file: 0 = max, 1 = rsvd.max */
int nh_cgroup_write(unsigned int slot, unsigned int which, const char *text)
{
	static const char *const names[] = { "2MB.max", "2MB.rsvd.max" };
	struct kernfs_node node = {};
	struct kernfs_open_file of = { .kn = &node };
	char line[64];
	unsigned int i;

	if (!slots[slot])
		return -ENOENT;
	for (i = 0; i < file_count; i++) {
		ssize_t ret;

		if (strcmp(files[i]->name, names[which]))
			continue;
		writing = slots[slot]->css;
		node.priv = files[i];
		strscpy(line, text, sizeof(line));
		ret = files[i]->write(&of, line, strlen(line), 0);
		return ret < 0 ? ret : 0;
	}
	return -ENOENT;
}

static struct nh_cgroup *group_of(struct task_struct *task)
{
	struct css_set *set = rcu_dereference_protected(task->cgroups, true);

	return container_of(set, struct nh_cgroup, set);
}

static void join(struct task_struct *task, struct nh_cgroup *group)
{
	group->tasks++;
	rcu_assign_pointer(task->cgroups, &group->set);
}

int nh_cgroup_attach(struct task_struct *task, int slot)
{
	struct nh_cgroup *group = slot < 0 ? &root_group : slots[slot];

	if (!group)
		return -ENOENT;
	nh_cgroup_exit(task);
	join(task, group);
	return 0;
}
void nh_cgroup_fork(struct task_struct *child, struct task_struct *parent)
{
	join(child, group_of(parent));
}
void nh_cgroup_exit(struct task_struct *task)
{
	struct nh_cgroup *group = group_of(task);

	group->tasks--;
	rcu_assign_pointer(task->cgroups, &root_group.set);
}
struct cgroup_subsys_state *nh_cgroup_css(unsigned int slot)
{
	return slots[slot] ? slots[slot]->css : NULL;
}
/* Which group a charge belongs to: 0 none, 1 the root, then in order of creation. */
unsigned long nh_cgroup_serial(struct cgroup_subsys_state *css)
{
	return css ? css->serial_nr + 1 : 0;
}
