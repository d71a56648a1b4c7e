/* Fidelity: CUSTOM
 * Locks: taking one is setting its word. Where tasks run together one that is held
 * is waited for; what could never be granted or was never taken ends the operation. */
#define MUTEX_STATE_TO_ADDRESS 1
#include "nhk.h"
#include <linux/spinlock.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/percpu-rwsem.h>
#include <linux/hardirq.h>

unsigned long nh_irq_flags = X86_EFLAGS_IF;
struct nh_locks nh_locks; /* of the task that runs */

/* A boundary comes before a lock is taken and after it is released. */
static __always_inline void boundary(enum nh_boundary_kind what, const void *lock, const char *name)
{
	if (unlikely(nh_task_count))
		nh_boundary_slow(what, lock, name);
}
/* The lock is held: by another task, which is waited for, or by this one. */
static __always_inline void wait_for(const void *lock, const char *text)
{
	if (*(const u32 *)lock == 0x6b6b6b6b)
		nh_fatal(NH_CRASH, "use after free: a lock of a freed object",
			 (nh_u64)(unsigned long)lock);
	if (!nh_task_count)
		nh_fatal(NH_DEADLOCK, text, (nh_u64)(unsigned long)lock);
	nh_wait_slow(lock, text);
}
static __always_inline void attempted(const void *lock)
{
	if (unlikely(nh_task_count))
		nh_attempt_slow(lock);
}

static __always_inline void take(int *word, int value, const char *what)
{
	while (unlikely(*word))
		wait_for(word, what);
	preempt_disable();
	*word = value;
	nh_locks.held++;
	nh_locks.spins++;
}

static __always_inline void drop(int *word, const char *what)
{
	if (unlikely(!*word))
		nh_fatal(NH_CORRUPTION, what, (nh_u64)(unsigned long)word);
	*word = 0;
	nh_locks.held--;
	nh_locks.spins--;
	preempt_enable();
}

#define SPIN(lock) ((int *)&(lock)->raw_lock.val)
#define TAKEN "a spin lock was taken twice by one task"
#define FREED "a spin lock was released that is not held"

void __lockfunc _raw_spin_lock(raw_spinlock_t *lock)
{
	boundary(NH_SPIN_LOCK, lock, NULL);
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
	boundary(NH_SPIN_TRYLOCK, lock, NULL);
	if (*SPIN(lock))
		return 0;
	attempted(lock);
	take(SPIN(lock), 1, TAKEN);
	return 1;
}
int __lockfunc _raw_spin_trylock_bh(raw_spinlock_t *lock)
{
	return _raw_spin_trylock(lock);
}
void __lockfunc _raw_spin_unlock(raw_spinlock_t *lock)
{
	drop(SPIN(lock), FREED);
	boundary(NH_SPIN_UNLOCK, lock, NULL);
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
	boundary(NH_WRITE_LOCK, lock, NULL);
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
	boundary(NH_WRITE_UNLOCK, lock, NULL);
}
void __lockfunc _raw_write_unlock_irq(rwlock_t *lock)
{
	_raw_write_unlock(lock);
	native_irq_enable();
}
void __lockfunc _raw_read_lock(rwlock_t *lock)
{
	boundary(NH_READ_LOCK, lock, NULL);
	while (*RW(lock) & 0xff)
		wait_for(lock, RW_TAKEN);
	preempt_disable();
	*RW(lock) += 0x200;
	nh_locks.held++;
	nh_locks.spins++;
}
void __lockfunc _raw_read_unlock(rwlock_t *lock)
{
	if (*RW(lock) < 0x200)
		nh_fatal(NH_CORRUPTION, RW_FREED, (nh_u64)(unsigned long)lock);
	*RW(lock) -= 0x200;
	nh_locks.held--;
	nh_locks.spins--;
	preempt_enable();
	boundary(NH_READ_UNLOCK, lock, NULL);
}

/* Nobody is ever on a wait list, so its second word has room for the lock's name. */
static const char *name_in(const struct list_head *list)
{
	return list->prev == list ? NULL : (const char *)list->prev;
}

void __mutex_init(struct mutex *lock, const char *name, struct lock_class_key *key)
{
	memset(lock, 0, sizeof(*lock));
	lock->wait_list.next = &lock->wait_list;
	lock->wait_list.prev = (struct list_head *)name;
}
#define OWNER(lock) ((unsigned long *)&(lock)->owner)
static void own(struct mutex *lock)
{
	while (*OWNER(lock))
		wait_for(lock, "a mutex was taken twice by one task");
	*OWNER(lock) = (unsigned long)current;
	nh_locks.held++;
}
void mutex_lock(struct mutex *lock)
{
	might_sleep();
	boundary(NH_MUTEX_LOCK, lock, name_in(&lock->wait_list));
	own(lock);
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
	boundary(NH_MUTEX_TRYLOCK, lock, name_in(&lock->wait_list));
	if (*OWNER(lock))
		return 0;
	attempted(lock);
	own(lock);
	return 1;
}
void mutex_unlock(struct mutex *lock)
{
	if (!*OWNER(lock))
		nh_fatal(NH_CORRUPTION, "a mutex was released that is not held", (nh_u64)(unsigned long)lock);
	*OWNER(lock) = 0;
	nh_locks.held--;
	boundary(NH_MUTEX_UNLOCK, lock, name_in(&lock->wait_list));
}
bool mutex_is_locked(struct mutex *lock)
{
	return *OWNER(lock) != 0;
}

/* rwsem.h of the tree reads the count itself: 1 is a writer, 0x100 a reader */
void __init_rwsem(struct rw_semaphore *sem, const char *name, struct lock_class_key *key)
{
	memset(sem, 0, sizeof(*sem));
	sem->wait_list.next = &sem->wait_list;
	sem->wait_list.prev = (struct list_head *)name;
}
#define COUNT(sem) ((long *)&(sem)->count)
#define SEM_TAKEN "a semaphore was taken that this task holds"
#define SEM_FREED "a semaphore was released that is not held"
static bool write_now(struct rw_semaphore *sem)
{
	if (*COUNT(sem))
		return false;
	*COUNT(sem) = 1;
	nh_locks.held++;
	return true;
}
int down_write_trylock(struct rw_semaphore *sem)
{
	boundary(NH_DOWN_WRITE_TRYLOCK, sem, name_in(&sem->wait_list));
	if (!write_now(sem))
		return 0;
	attempted(sem);
	return 1;
}
void down_write(struct rw_semaphore *sem)
{
	might_sleep();
	boundary(NH_DOWN_WRITE, sem, name_in(&sem->wait_list));
	while (!write_now(sem))
		wait_for(sem, SEM_TAKEN);
}
int down_write_killable(struct rw_semaphore *sem)
{
	down_write(sem);
	return 0;
}
static bool read_now(struct rw_semaphore *sem)
{
	if (*COUNT(sem) & 1)
		return false;
	*COUNT(sem) += 0x100;
	nh_locks.held++;
	return true;
}
int down_read_trylock(struct rw_semaphore *sem)
{
	boundary(NH_DOWN_READ_TRYLOCK, sem, name_in(&sem->wait_list));
	if (!read_now(sem))
		return 0;
	attempted(sem);
	return 1;
}
void down_read(struct rw_semaphore *sem)
{
	might_sleep();
	boundary(NH_DOWN_READ, sem, name_in(&sem->wait_list));
	while (!read_now(sem))
		wait_for(sem, SEM_TAKEN);
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
	nh_locks.held--;
	boundary(NH_UP_WRITE, sem, name_in(&sem->wait_list));
}
void up_read(struct rw_semaphore *sem)
{
	if (*COUNT(sem) < 0x100)
		nh_fatal(NH_CORRUPTION, SEM_FREED, (nh_u64)(unsigned long)sem);
	*COUNT(sem) -= 0x100;
	nh_locks.held--;
	boundary(NH_UP_READ, sem, name_in(&sem->wait_list));
}
void downgrade_write(struct rw_semaphore *sem)
{
	if (!(*COUNT(sem) & 1))
		nh_fatal(NH_CORRUPTION, SEM_FREED, (nh_u64)(unsigned long)sem);
	*COUNT(sem) = 0x100;
	boundary(NH_DOWNGRADE_WRITE, sem, name_in(&sem->wait_list));
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
	if (unlikely(nh_locks.held))
		nh_fatal(NH_CORRUPTION, "an operation returned with a lock held", (nh_u64)nh_locks.held);
	if (unlikely(preempt_count() & PREEMPT_MASK))
		nh_fatal(NH_CORRUPTION, "an operation returned with preemption disabled",
			 (nh_u64)preempt_count());
	if (unlikely(arch_irqs_disabled()))
		nh_fatal(NH_CORRUPTION, "an operation returned with interrupts disabled", 0);
}
