/* Fidelity: CUSTOM
 * Locks of one task: taking one is setting its word, and what could never be
 * granted or was never taken ends the operation. */
#define MUTEX_STATE_TO_ADDRESS 1
#include "nhk.h"
#include <linux/spinlock.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/percpu-rwsem.h>
#include <linux/hardirq.h>

unsigned long nh_irq_flags = X86_EFLAGS_IF;
static int held;

static __always_inline void take(int *word, int value, const char *what)
{
	if (unlikely(*word))
		nh_fatal(NH_DEADLOCK, what, (nh_u64)(unsigned long)word);
	*word = value;
	held++;
}

static __always_inline void drop(int *word, const char *what)
{
	if (unlikely(!*word))
		nh_fatal(NH_CORRUPTION, what, (nh_u64)(unsigned long)word);
	*word = 0;
	held--;
}

#define SPIN(lock) ((int *)&(lock)->raw_lock.val)
#define TAKEN "a spin lock was taken twice by one task"
#define FREED "a spin lock was released that is not held"

void __lockfunc _raw_spin_lock(raw_spinlock_t *lock)
{
	preempt_disable();
	take(SPIN(lock), 1, TAKEN);
}
void __lockfunc _raw_spin_lock_bh(raw_spinlock_t *lock)
{
	_raw_spin_lock(lock);
}
void __lockfunc _raw_spin_lock_irq(raw_spinlock_t *lock)
{
	native_irq_disable();
	_raw_spin_lock(lock);
}
unsigned long __lockfunc _raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	unsigned long flags = arch_local_irq_save();

	_raw_spin_lock(lock);
	return flags;
}
int __lockfunc _raw_spin_trylock(raw_spinlock_t *lock)
{
	if (*SPIN(lock))
		return 0;
	_raw_spin_lock(lock);
	return 1;
}
int __lockfunc _raw_spin_trylock_bh(raw_spinlock_t *lock)
{
	return _raw_spin_trylock(lock);
}
void __lockfunc _raw_spin_unlock(raw_spinlock_t *lock)
{
	drop(SPIN(lock), FREED);
	preempt_enable();
}
void __lockfunc _raw_spin_unlock_bh(raw_spinlock_t *lock)
{
	_raw_spin_unlock(lock);
}
void __lockfunc _raw_spin_unlock_irq(raw_spinlock_t *lock)
{
	_raw_spin_unlock(lock);
	native_irq_enable();
}
void __lockfunc _raw_spin_unlock_irqrestore(raw_spinlock_t *lock, unsigned long flags)
{
	_raw_spin_unlock(lock);
	arch_local_irq_restore(flags);
}

#define RW(lock) ((int *)&(lock)->raw_lock.cnts)
#define RW_TAKEN "a read-write lock was taken that this task holds"
#define RW_FREED "a read-write lock was released that is not held"

void __lockfunc _raw_write_lock(rwlock_t *lock)
{
	preempt_disable();
	take(RW(lock), 0xff, RW_TAKEN);
}
void __lockfunc _raw_write_lock_irq(rwlock_t *lock)
{
	native_irq_disable();
	_raw_write_lock(lock);
}
void __lockfunc _raw_write_unlock(rwlock_t *lock)
{
	drop(RW(lock), RW_FREED);
	preempt_enable();
}
void __lockfunc _raw_write_unlock_irq(rwlock_t *lock)
{
	_raw_write_unlock(lock);
	native_irq_enable();
}
void __lockfunc _raw_read_lock(rwlock_t *lock)
{
	preempt_disable();
	if (*RW(lock) & 0xff)
		nh_fatal(NH_DEADLOCK, RW_TAKEN, (nh_u64)(unsigned long)lock);
	*RW(lock) += 0x200;
	held++;
}
void __lockfunc _raw_read_unlock(rwlock_t *lock)
{
	if (*RW(lock) < 0x200)
		nh_fatal(NH_CORRUPTION, RW_FREED, (nh_u64)(unsigned long)lock);
	*RW(lock) -= 0x200;
	held--;
	preempt_enable();
}

void __mutex_init(struct mutex *lock, const char *name, struct lock_class_key *key)
{
	memset(lock, 0, sizeof(*lock));
	INIT_LIST_HEAD(&lock->wait_list);
}
#define OWNER(lock) ((unsigned long *)&(lock)->owner)
void mutex_lock(struct mutex *lock)
{
	might_sleep();
	if (*OWNER(lock))
		nh_fatal(NH_DEADLOCK, "a mutex was taken twice by one task", (nh_u64)(unsigned long)lock);
	*OWNER(lock) = (unsigned long)current;
	held++;
}
int mutex_lock_interruptible(struct mutex *lock)
{
	mutex_lock(lock);
	return 0;
}
int mutex_lock_killable(struct mutex *lock)
{
	mutex_lock(lock);
	return 0;
}
void mutex_lock_io(struct mutex *lock)
{
	mutex_lock(lock);
}
int mutex_trylock(struct mutex *lock)
{
	if (*OWNER(lock))
		return 0;
	mutex_lock(lock);
	return 1;
}
void mutex_unlock(struct mutex *lock)
{
	if (!*OWNER(lock))
		nh_fatal(NH_CORRUPTION, "a mutex was released that is not held", (nh_u64)(unsigned long)lock);
	*OWNER(lock) = 0;
	held--;
}
bool mutex_is_locked(struct mutex *lock)
{
	return *OWNER(lock) != 0;
}

/* rwsem.h of the tree reads the count itself: 1 is a writer, 0x100 a reader */
void __init_rwsem(struct rw_semaphore *sem, const char *name, struct lock_class_key *key)
{
	memset(sem, 0, sizeof(*sem));
	INIT_LIST_HEAD(&sem->wait_list);
}
#define COUNT(sem) ((long *)&(sem)->count)
#define SEM_TAKEN "a semaphore was taken that this task holds"
#define SEM_FREED "a semaphore was released that is not held"
int down_write_trylock(struct rw_semaphore *sem)
{
	if (*COUNT(sem))
		return 0;
	*COUNT(sem) = 1;
	held++;
	return 1;
}
void down_write(struct rw_semaphore *sem)
{
	might_sleep();
	if (!down_write_trylock(sem))
		nh_fatal(NH_DEADLOCK, SEM_TAKEN, (nh_u64)(unsigned long)sem);
}
int down_write_killable(struct rw_semaphore *sem)
{
	down_write(sem);
	return 0;
}
int down_read_trylock(struct rw_semaphore *sem)
{
	if (*COUNT(sem) & 1)
		return 0;
	*COUNT(sem) += 0x100;
	held++;
	return 1;
}
void down_read(struct rw_semaphore *sem)
{
	might_sleep();
	if (!down_read_trylock(sem))
		nh_fatal(NH_DEADLOCK, SEM_TAKEN, (nh_u64)(unsigned long)sem);
}
int down_read_killable(struct rw_semaphore *sem)
{
	down_read(sem);
	return 0;
}
int down_read_interruptible(struct rw_semaphore *sem)
{
	down_read(sem);
	return 0;
}
void up_write(struct rw_semaphore *sem)
{
	if (!(*COUNT(sem) & 1))
		nh_fatal(NH_CORRUPTION, SEM_FREED, (nh_u64)(unsigned long)sem);
	*COUNT(sem) = 0;
	held--;
}
void up_read(struct rw_semaphore *sem)
{
	if (*COUNT(sem) < 0x100)
		nh_fatal(NH_CORRUPTION, SEM_FREED, (nh_u64)(unsigned long)sem);
	*COUNT(sem) -= 0x100;
	held--;
}
void downgrade_write(struct rw_semaphore *sem)
{
	up_write(sem);
	*COUNT(sem) += 0x100;
	held++;
}

/* Per-cpu semaphores of one task never meet a writer. */
int __percpu_init_rwsem(struct percpu_rw_semaphore *sem, const char *name, struct lock_class_key *key)
{
	sem->read_count = alloc_percpu(int);
	sem->block = (atomic_t)ATOMIC_INIT(0);
	return sem->read_count ? 0 : -ENOMEM;
}
void percpu_free_rwsem(struct percpu_rw_semaphore *sem)
{
	free_percpu(sem->read_count);
	sem->read_count = NULL;
}

void nh_check_quiescent(void)
{
	if (unlikely(held))
		nh_fatal(NH_CORRUPTION, "an operation returned with a lock held", (nh_u64)held);
	if (unlikely(preempt_count() & PREEMPT_MASK))
		nh_fatal(NH_CORRUPTION, "an operation returned with preemption disabled",
			 (nh_u64)preempt_count());
	if (unlikely(arch_irqs_disabled()))
		nh_fatal(NH_CORRUPTION, "an operation returned with interrupts disabled", 0);
}
