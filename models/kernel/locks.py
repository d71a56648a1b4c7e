# Fidelity: CUSTOM
"""Locks as objects. Every acquire and release is a boundary at which a scheduler may switch tasks.

Ports are plain functions: they call ``spin_lock(lock)`` as the C does, and the scheduler hangs a
hook into the machine. Without a hook there is one task, so a lock that is already held is a
deadlock, which is an outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.kernel.machine import KernelCrash, KernelDeadlock, KernelHang, bug_on, effect

if TYPE_CHECKING:
    from models.kernel.machine import machine
    from models.kernel.task import Task


class Lock:
    """A spinlock or a mutex; ``name`` says which in effects and schedules."""

    __slots__ = ("name", "owner")

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: Task | object | None = None


class RWSem:
    """A read-write semaphore: many readers or one writer."""

    __slots__ = ("name", "readers", "writer")

    def __init__(self, name: str) -> None:
        self.name = name
        self.readers = 0
        self.writer: Task | object | None = None


#: Owner of a lock taken outside of any task (boot, teardown).
NOBODY = object()
#: Owner of the lock of an object that was freed.
FREED = object()


def _wait(kind: str, lock: Lock | RWSem) -> None:
    if isinstance(lock, Lock) and lock.owner is FREED:
        msg = f"{kind}({lock.name}): use-after-free"
        raise KernelCrash(msg)
    hook = machine.lock_hook
    if hook is None:
        msg = f"{kind}({lock.name}): held already"
        raise KernelDeadlock(msg)
    hook("wait", lock)


def out_of_fuel() -> None:
    """The operation has taken more locks than any that ends; which one was last says nothing.

    Raises:
        KernelHang: always.
    """
    msg = "goes on without an end"
    raise KernelHang(msg)


def _acquire(kind: str, lock: Lock) -> None:
    machine.fuel -= 1
    if machine.fuel < 0:
        out_of_fuel()
    hook = machine.lock_hook
    if hook is not None:
        hook(kind, lock)
    while lock.owner is not None:
        _wait(kind, lock)
    lock.owner = machine.current or NOBODY
    if machine.effects is not None:
        effect(f"{kind} {lock.name}")


def _release(kind: str, lock: Lock) -> None:
    bug_on(lock.owner is None, f"{kind}({lock.name}): not held")
    lock.owner = None
    if machine.effects is not None:
        effect(f"{kind} {lock.name}")
    hook = machine.lock_hook
    if hook is not None:
        hook(kind, lock)


def spin_lock(lock: Lock) -> None:
    """spin_lock; the _irq and _irqsave forms are the same here, as there are no interrupts.

    Raises:
        KernelDeadlock: it is held and no other task can release it.
    """
    _acquire("spin_lock", lock)


def spin_unlock(lock: Lock) -> None:
    """spin_unlock, also for the _irq and _irqrestore forms."""
    _release("spin_unlock", lock)


spin_lock_irq = spin_lock_irqsave = spin_lock
spin_unlock_irq = spin_unlock_irqrestore = spin_unlock


def mutex_lock(lock: Lock) -> None:
    """mutex_lock."""
    _acquire("mutex_lock", lock)


def mutex_unlock(lock: Lock) -> None:
    """mutex_unlock."""
    _release("mutex_unlock", lock)


def lockdep_assert_held(lock: Lock) -> None:
    """Warn-by-BUG when the lock is not held: the models are run with lock debugging on."""
    bug_on(lock.owner is None, f"lockdep_assert_held({lock.name})")


def down_read(sem: RWSem) -> None:
    """down_read."""
    hook = machine.lock_hook
    if hook is not None:
        hook("down_read", sem)
    while sem.writer is not None:
        _wait("down_read", sem)
    sem.readers += 1
    if machine.effects is not None:
        effect(f"down_read {sem.name}")


def up_read(sem: RWSem) -> None:
    """up_read."""
    bug_on(sem.readers == 0, f"up_read({sem.name}): not held")
    sem.readers -= 1
    if machine.effects is not None:
        effect(f"up_read {sem.name}")
    hook = machine.lock_hook
    if hook is not None:
        hook("up_read", sem)


def down_write(sem: RWSem) -> None:
    """down_write."""
    hook = machine.lock_hook
    if hook is not None:
        hook("down_write", sem)
    while sem.writer is not None or sem.readers:
        _wait("down_write", sem)
    sem.writer = machine.current or NOBODY
    if machine.effects is not None:
        effect(f"down_write {sem.name}")


def down_write_trylock(sem: RWSem) -> bool:
    """down_write_trylock: whether it was taken."""
    if sem.writer is not None or sem.readers:
        return False
    sem.writer = machine.current or NOBODY
    if machine.effects is not None:
        effect(f"down_write_trylock {sem.name}")
    return True


def up_write(sem: RWSem) -> None:
    """up_write."""
    bug_on(sem.writer is None, f"up_write({sem.name}): not held")
    sem.writer = None
    if machine.effects is not None:
        effect(f"up_write {sem.name}")
    hook = machine.lock_hook
    if hook is not None:
        hook("up_write", sem)
