/* Fidelity: CUSTOM
 * What the kernel does later: RCU callbacks and work items wait in a queue and
 * run when the operation has returned; waiting for an event that no other task
 * could bring is a deadlock. */
#include "nhk.h"
#include <linux/rcupdate.h>
#include <linux/workqueue.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include <linux/completion.h>
#include <linux/swait.h>
#include <linux/task_work.h>
#include <linux/percpu-refcount.h>
#include <linux/timer.h>
#include <linux/rcuwait.h>
#include <linux/smp.h>
#include <linux/padata.h>

static struct rcu_head *rcu_first, **rcu_last = &rcu_first;
static LIST_HEAD(work_queue);

void call_rcu(struct rcu_head *head, rcu_callback_t func)
{
	head->func = func;
	head->next = NULL;
	*rcu_last = head;
	rcu_last = &head->next;
}

static bool run_rcu(void)
{
	struct rcu_head *head = rcu_first;

	if (!head)
		return false;
	rcu_first = head->next;
	if (!rcu_first)
		rcu_last = &rcu_first;
	if (__is_kvfree_rcu_offset((unsigned long)head->func))
		kvfree((void *)head - (unsigned long)head->func);
	else
		head->func(head);
	return true;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
void kvfree_call_rcu(struct rcu_head *head, void *ptr)
{
	call_rcu(head, (rcu_callback_t)((void *)head - ptr));
}
#else
void kvfree_call_rcu(struct rcu_head *head, rcu_callback_t func)
{
	call_rcu(head, func);
}
#endif

void synchronize_rcu(void)
{
	might_sleep();
	while (!nh_task_count && run_rcu())
		;
}
void synchronize_rcu_expedited(void)
{
	synchronize_rcu();
}
void rcu_barrier(void)
{
	synchronize_rcu();
}

struct workqueue_struct *system_wq, *system_unbound_wq, *system_long_wq;
struct workqueue_struct *system_percpu_wq, *system_dfl_wq;

bool queue_work_on(int cpu, struct workqueue_struct *queue, struct work_struct *work)
{
	if (!list_empty(&work->entry))
		return false;
	list_add_tail(&work->entry, &work_queue);
	return true;
}
static bool run_work(void)
{
	struct work_struct *work;

	if (list_empty(&work_queue))
		return false;
	work = list_first_entry(&work_queue, struct work_struct, entry);
	list_del_init(&work->entry);
	work->func(work);
	return true;
}
bool queue_delayed_work_on(int cpu, struct workqueue_struct *queue, struct delayed_work *work,
			   unsigned long delay)
{
	return queue_work_on(cpu, queue, &work->work);
}
bool flush_work(struct work_struct *work)
{
	bool ran = false;

	while (!list_empty(&work->entry))
		ran |= run_work();
	return ran;
}

void nh_settle(void)
{
	unsigned int step = 0;

	/* What others might still look at is freed when all tasks have ended. */
	while (nh_task_count && current->task_works)
		task_work_run();
	if (nh_task_count)
		return;
	do {
		if (current->task_works)
			task_work_run();
		if (++step > 1000000)
			nh_fatal(NH_HANG, "deferred work never ends", 0);
	} while (run_work() || run_rcu() || current->task_works);
}

#ifdef CONFIG_PADATA
/* Work that is divided among threads while booting: one thread does all of it. */
void padata_do_multithreaded(struct padata_mt_job *job)
{
	if (job->size)
		job->thread_fn(job->start, job->start + job->size, job->fn_arg);
}
#endif

/* Waiting. A condition that already holds is never waited for. */
void __init_waitqueue_head(struct wait_queue_head *head, const char *name, struct lock_class_key *key)
{
	spin_lock_init(&head->lock);
	INIT_LIST_HEAD(&head->head);
}
void complete(struct completion *x)
{
	x->done = UINT_MAX / 2;
}
void schedule(void)
{
	if (!nh_wait_for_event())
		nh_fatal(NH_DEADLOCK, "the task waits for what no other task will do", 0);
}
void io_schedule(void)
{
	schedule();
}
long schedule_timeout(long timeout)
{
	schedule();
	return 0;
}

void __might_resched(const char *file, int line, unsigned int offsets)
{
	if (unlikely((preempt_count() & PREEMPT_MASK) || arch_irqs_disabled())) {
		static bool seen;

		if (!seen) {
			seen = true;
			nh_warn(__func__, "sleeping function called from invalid context");
		}
	}
}
void __might_sleep(const char *file, int line)
{
	__might_resched(file, line, 0);
}
