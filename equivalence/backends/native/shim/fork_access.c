/* Fidelity: DUP
 * The tree's own fork code with one door to the static function that copies an
 * address space. */
#include "kernel/fork.c"

struct mm_struct *nh_dup_mm(struct task_struct *task, struct mm_struct *old);
struct mm_struct *nh_dup_mm(struct task_struct *task, struct mm_struct *old)
{
	return dup_mm(task, old);
}
