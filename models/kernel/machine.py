# Fidelity: CUSTOM
"""What one booted system knows of itself: the running task, failures to come, effects, warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from models.kernel.port import static_data

if TYPE_CHECKING:
    from models.kernel.task import Task

ULONG_MAX: Final = (1 << 64) - 1
LONG_MAX: Final = (1 << 63) - 1
#: Locks that one operation may take. The longest operation of ordinary worlds takes a few hundred,
#: filling all the memory of the largest world some twenty thousand; whoever retries without an end
#: comes past this in some hundredths of a second.
FUEL: Final = 30_000


class KernelBug(Exception):
    """BUG() was reached: the operation ends and the system cannot go on."""


class KernelCrash(Exception):
    """Memory is used that is no longer what it was: the operation ends, and so does the system."""


class KernelDeadlock(Exception):
    """A task waits for a lock that nobody will release."""


class KernelHang(Exception):
    """A loop that nothing will ever end."""


class Unmodelled(Exception):
    """The kernel would go on to what this model does not have: an outcome, never a guess."""


class Machine:
    """One booted system. ``effects`` is a list only while the relation ``effects`` is compared."""

    __slots__ = (
        "current",
        "effects",
        "fail",
        "frames",
        "fuel",
        "lock_hook",
        "tasks",
        "warned_once",
        "warnings",
    )

    def __init__(self) -> None:
        self.current: Task | None = None
        self.tasks: dict[str, Task] = {}
        #: Failures to inject: point name (see inject()) -> how many of the next calls fail.
        self.fail: dict[str, int] = {}
        #: Pages that user space has looked up: a name of its own -> the first base page.
        self.frames: dict[str, int] = {}
        #: Locks that the running operation may still take: one that takes more hangs. Booting may
        #: take any number.
        self.fuel = ULONG_MAX
        self.effects: list[str] | None = None
        self.warnings: list[str] = []
        self.warned_once: set[str] = set()
        self.lock_hook: Callable[[str, Any], None] | None = None


machine: Machine


@static_data
def machine_init() -> None:
    """A machine that has just been switched on."""
    global machine
    machine = Machine()


def effect(text: str) -> None:
    """Log one call into the environment, for the relation ``effects``."""
    if machine.effects is not None:
        machine.effects.append(text)


def inject(point: str) -> bool:
    """Whether this call must fail: counts down the failures asked for at ``point``."""
    left = machine.fail.get(point)
    if left is None:
        return False
    if left <= 1:
        del machine.fail[point]
    else:
        machine.fail[point] = left - 1
    return True


def bug_on(condition: object, text: str) -> None:
    """BUG_ON and, as the debug kernel that we model has them on, VM_BUG_ON.

    Raises:
        KernelBug: the condition holds.
    """
    if condition:
        raise KernelBug(text)


def warn_on(condition: object, text: str) -> bool:
    """WARN_ON: the warning becomes part of the outcome; returns whether the condition held."""
    if condition:
        machine.warnings.append(text)
        return True
    return False


def warn_on_once(condition: object, text: str) -> bool:
    """WARN_ON_ONCE: warns the first time after boot; returns whether the condition held."""
    if condition:
        if text not in machine.warned_once:
            machine.warned_once.add(text)
            machine.warnings.append(text)
        return True
    return False
