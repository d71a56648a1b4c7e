/* Fidelity: CUSTOM
 * Operations that run together: each is a task with a stack of its own, and gives
 * way only where it is about to take a lock, has released one, or must wait. There
 * is one CPU: a task that has disabled preemption by anything but a lock (per-cpu
 * data, RCU) is not switched away. */
#include "driver.h"
#include <linux/hugetlb.h>
#include <linux/wait.h>
#include <linux/task_work.h>
#include <linux/hardirq.h>
#include <linux/fdtable.h>

#define STACK_BYTES (1UL << 20)

/* What a task has of the processor and of the shim while it does not run. */
struct context {
	struct task_struct *current_task;
	struct nh_result *result;
	struct nh_locks locks;
	unsigned long irq_flags;
	u64 warning_hash;
	int preempt_count, cpu_node;
	u32 warnings, op;
};

static struct task {
	unsigned long *stack; /* where it goes on */
	bool ended;
	const void *waits; /* a lock, or &events: for anything to happen */
	u64 seen; /* what had happened when it began to wait */
} tasks[NH_TASKS];

unsigned int nh_task_count;
static struct nh_schedule *plan;
static struct nh_boundaries *passed;
static unsigned int running, points, next_switch;
static unsigned long *main_stack;
static u64 events;
static void (*body)(unsigned int task);
static struct context alone; /* as every task begins, and as it is when all have ended */

/* Saves what a function must keep, and goes on where another stack had stopped. */
void nh_swap(unsigned long **from, unsigned long *to);
asm(".text\n.globl nh_swap\n.type nh_swap, @function\nnh_swap:\n"
    "\tpush %rbp\n\tpush %rbx\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n"
    "\tmov %rsp, (%rdi)\n\tmov %rsi, %rsp\n"
    "\tpop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbx\n\tpop %rbp\n\tret\n"
    ".size nh_swap, .-nh_swap\n");

static void save(struct context *to)
{
	*to = (struct context){
		.current_task = current,
		.result = nh_result,
		.locks = nh_locks,
		.irq_flags = nh_irq_flags,
		.warning_hash = nh_warning_hash,
		.preempt_count = preempt_count(),
		.cpu_node = nh_cpu_node(),
		.warnings = nh_warnings,
		.op = nh_current_op,
	};
}
static void restore(const struct context *from)
{
	nh_set_current(from->current_task);
	nh_result = from->result;
	nh_locks = from->locks;
	nh_irq_flags = from->irq_flags;
	nh_warning_hash = from->warning_hash;
	preempt_count_set(from->preempt_count);
	nh_set_cpu_node(from->cpu_node);
	nh_warnings = from->warnings;
	nh_current_op = from->op;
}

static bool able(unsigned int number)
{
	const struct task *task = &tasks[number];

	if (task->ended)
		return false;
	return !task->waits || (task->waits == &events && task->seen != events);
}

/* The first task that can run; if none can, the first that has not ended, which
 * then finds that it waits for ever. */
static unsigned int first_able(bool *stuck)
{
	unsigned int number, last = nh_task_count;

	for (number = nh_task_count; number--;)
		if (able(number))
			last = number;
	*stuck = last == nh_task_count;
	for (number = nh_task_count; *stuck && number--;)
		if (!tasks[number].ended)
			last = number;
	return last;
}

static void give_way(unsigned int to)
{
	struct context context;
	unsigned int from = running;

	save(&context);
	running = to;
	nh_swap(&tasks[from].stack, tasks[to].stack);
	running = from;
	restore(&context);
}

/* Members of structs that are locks; some structs have a few bytes more at their end. */
static const struct {
	unsigned long bytes, offset;
	const char *text;
} known[] = {
#define MEMBER(type, member) { sizeof(struct type), offsetof(struct type, member), #type "->" #member }
	MEMBER(resv_map, lock),	      MEMBER(hugepage_subpool, lock),
	MEMBER(mm_struct, page_table_lock), MEMBER(dentry, d_lockref),
	MEMBER(files_struct, file_lock), MEMBER(super_block, s_inode_list_lock),
	MEMBER(signal_struct, cred_guard_mutex),
};

static void describe(struct nh_lock *to, const void *lock, const char *name)
{
	unsigned long bytes, offset, i;

	to->address = (u64)(unsigned long)lock;
	to->text[0] = 0;
	bytes = nh_object_of(lock, &offset);
	if (name) {
		strscpy(to->text, name, sizeof(to->text));
		return;
	}
	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (bytes - known[i].bytes < 64 && known[i].offset == offset)
			name = known[i].text;
	if (name)
		strscpy(to->text, name, sizeof(to->text));
	else if (bytes)
		snprintf(to->text, sizeof(to->text), "object of %lu bytes+%lu", bytes, offset);
	else if ((char *)lock >= nh_vmemmap && (char *)lock < nh_vmemmap + (1UL << 30))
		strscpy(to->text, "page->ptl", sizeof(to->text));
	else if ((char *)lock >= nh_stack_low && (char *)lock < nh_stack_low + NH_STACK_BYTES)
		strscpy(to->text, "lock on the stack", sizeof(to->text));
}

static unsigned int number_of(const void *lock, const char *name)
{
	unsigned int number;

	for (number = 0; number < passed->locks; number++)
		if (passed->lock[number].address == (u64)(unsigned long)lock)
			return number;
	if (number == NH_LOCKS)
		nh_fatal(NH_UNMODELLED, "more locks than the shim has room for", NH_LOCKS);
	describe(&passed->lock[number], lock, name);
	passed->locks++;
	return number;
}

void nh_boundary_slow(enum nh_boundary_kind what, const void *lock, const char *name)
{
	struct nh_boundary *entry;
	unsigned int point, wanted = running;
	bool fixed = (preempt_count() & PREEMPT_MASK) > nh_locks.spins;

	events++;
	if (passed->count == NH_BOUNDARIES)
		nh_fatal(NH_DEADLOCK, "more lock boundaries than operations have that end", 0);
	entry = &passed->boundary[passed->count++];
	*entry = (struct nh_boundary){ running, what, number_of(lock, name), fixed };
	if (what & NH_RELEASED) {
		unsigned int number;

		for (number = 0; number < nh_task_count; number++)
			if (tasks[number].waits == lock)
				tasks[number].waits = NULL;
	}
	if (fixed)
		return;
	point = points++;
	while (next_switch < plan->count && plan->at_point[next_switch].point < point)
		next_switch++;
	if (next_switch < plan->count && plan->at_point[next_switch].point == point)
		wanted = plan->at_point[next_switch].task;
	if (wanted != running && wanted < nh_task_count && able(wanted))
		give_way(wanted);
}

/* An attempt to take a lock came off: it is held from the last boundary on. */
void nh_attempt_slow(const void *lock)
{
	unsigned int at = passed->count;

	while (at--)
		if (passed->boundary[at].task == running) {
			passed->boundary[at].what |= NH_TAKEN;
			return;
		}
}

static void wait_for(const void *what, const char *text)
{
	bool stuck;
	unsigned int to;

	tasks[running].waits = what;
	tasks[running].seen = events;
	to = first_able(&stuck);
	if (!stuck)
		give_way(to);
	if (!able(running))
		nh_fatal(NH_DEADLOCK, text, (u64)(unsigned long)what);
	tasks[running].waits = NULL;
}

void nh_wait_slow(const void *lock, const char *text)
{
	wait_for(lock, "waits for a lock that nobody will release");
}
bool nh_wait_for_event(void)
{
	if (!nh_task_count)
		return false;
	wait_for(&events, "waits for what no task will do");
	return true;
}

static void task_main(void)
{
	unsigned int number = running;

	restore(&alone);
	body(number);
	tasks[number].ended = true;
	events++;
	nh_swap(&tasks[number].stack, main_stack);
	BUG();
}

static unsigned long *fresh_stack(unsigned int number)
{
	unsigned long *top = (unsigned long *)(nh_stack_low + (number + 1) * STACK_BYTES);

	*--top = 0; /* where walking the frames ends */
	*--top = 0;
	*--top = (unsigned long)task_main;
	top -= 6; /* registers; a frame pointer of 0 */
	memset(top, 0, 6 * sizeof(*top));
	return top;
}

void nh_interleave(struct nh_trace *trace, void (*run)(unsigned int task))
{
	unsigned int number;
	bool stuck;

	plan = &trace->schedule;
	passed = nh_boundaries();
	passed->count = passed->locks = 0;
	passed->ended = 0;
	body = run;
	points = next_switch = 0;
	for (number = 0; number < plan->tasks; number++)
		tasks[number] = (struct task){ .stack = fresh_stack(number) };
	nh_task_count = plan->tasks;
	save(&alone);
	for (;;) {
		running = first_able(&stuck);
		if (running == nh_task_count)
			break; /* all have ended */
		nh_swap(&main_stack, tasks[running].stack);
		restore(&alone);
	}
	nh_task_count = 0;
}

/* Waking: the waiters' own functions say who goes on; a task looks again whenever
 * anything has happened. */
static void wake(struct wait_queue_head *head, unsigned int mode, int exclusive, void *key)
{
	struct wait_queue_entry *at, *next;

	if (!nh_task_count)
		return;
	list_for_each_entry_safe (at, next, &head->head, entry) {
		unsigned int flags = at->flags;
		int woken = at->func(at, mode, 0, key);

		if (woken < 0 || (woken && (flags & WQ_FLAG_EXCLUSIVE) && !--exclusive))
			break;
	}
}
void __wake_up_locked_key(struct wait_queue_head *head, unsigned int mode, void *key)
{
	wake(head, mode, 1, key);
}
void __wake_up_locked_key_bookmark(struct wait_queue_head *head, unsigned int mode, void *key,
				   wait_queue_entry_t *bookmark)
{
	wake(head, mode, 1, key);
}
