/* Fidelity: CUSTOM
 * Processes: what fork and exit do around an address space and its files. */
#include "nhk.h"
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/fdtable.h>
#include <linux/mempolicy.h>
#include <linux/cred.h>
#include <linux/nsproxy.h>
#include <linux/fs_struct.h>
#include <linux/shm.h>

struct task_struct *nh_task_new(struct task_struct *parent)
{
	struct task_struct *task = kzalloc(sizeof(*task), GFP_KERNEL | __GFP_NOFAIL);

	*task = init_task;
	INIT_LIST_HEAD(&task->tasks);
	INIT_LIST_HEAD(&task->children);
	INIT_LIST_HEAD(&task->sibling);
	INIT_LIST_HEAD(&task->cg_list);
	INIT_LIST_HEAD(&task->sysvshm.shm_clist);
	task->task_works = NULL;
	task->flags = 0;
	task->group_leader = task;
	task->real_parent = &init_task;
	task->mm = task->active_mm = NULL;
	task->files = NULL;
	task->mempolicy = NULL;
	nh_cgroup_fork(task, parent);
	return task;
}

static void drop_files(struct task_struct *task)
{
	struct files_struct *files = task->files;
	unsigned int fd;

	if (!files)
		return;
	for (fd = 0; fd < 64; fd++) {
		struct file *file = files_lookup_fd_raw(files, fd);

		if (file) {
			rcu_assign_pointer(files->fdt->fd[fd], NULL);
			filp_close(file, files);
		}
	}
	task->files = NULL;
	if (files->fdt != &files->fdtab) {
		kvfree(files->fdt->fd);
		kvfree(files->fdt->open_fds);
		kfree(files->fdt);
	}
	kmem_cache_free(files_cachep, files);
}

int nh_task_exit(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;

	task->mm = task->active_mm = NULL;
	if (mm)
		mmput(mm);
	exit_shm(task);
	drop_files(task);
	mpol_put(task->mempolicy);
	task->mempolicy = NULL;
	nh_cgroup_exit(task);
	return 0;
}
