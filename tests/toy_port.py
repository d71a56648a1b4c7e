"""A pool of pages as linked functions with a lock: for mutants, schedules and races."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from random import Random
from types import FunctionType, ModuleType
from typing import Any

from equivalence.backends.port_tier import PortTier
from equivalence.series import Patch, Series, collect
from equivalence.subject import Excluded, Generator, Goal, Invariant, OpSpec
from models.kernel import locks
from models.kernel import machine as kernel
from models.kernel.locks import Lock, mutex_lock, mutex_unlock, spin_lock, spin_unlock
from models.kernel.machine import KernelBug, KernelDeadlock, KernelHang, Machine
from models.kernel.port import static_data
from models.schema.outcome import OK, Ending, Outcome
from models.schema.trace import Args, Op, Scalar, Trace

machine: Machine
pool_lock: Lock
other_lock: Lock
free: list[int]


@static_data
def toy_init() -> None:
    """Switched on."""
    global machine, pool_lock, other_lock, free
    machine = Machine()
    pool_lock = Lock("pool")
    other_lock = Lock("other")
    free = [0]


def boot_world(world: Args) -> None:
    """So many pages."""
    free[0] = int(world.get("pages", 0))


def fits(n: int) -> bool:
    """Whether so many pages are free."""
    return free[0] >= n


def take(n: int) -> int:
    """Take pages under the lock: 0 or -1."""
    spin_lock(pool_lock)
    if not fits(n):
        spin_unlock(pool_lock)
        return -1
    free[0] = free[0] - n
    spin_unlock(pool_lock)
    return 0


def take_late(n: int) -> int:
    """The check is made before the lock is taken, and not again."""
    enough = fits(n)
    spin_lock(pool_lock)
    if not enough:
        spin_unlock(pool_lock)
        return -1
    free[0] = free[0] - n
    spin_unlock(pool_lock)
    return 0


def take_twice(n: int) -> int:
    """The lock is dropped on the way, and what was read before is checked again."""
    spin_lock(pool_lock)
    spin_unlock(pool_lock)
    spin_lock(pool_lock)
    if not fits(n):
        spin_unlock(pool_lock)
        return -1
    free[0] = free[0] - n
    spin_unlock(pool_lock)
    return 0


def take_twice_badly(n: int) -> int:
    """The lock is dropped on the way, and a value is kept across."""
    spin_lock(pool_lock)
    known = free[0]
    spin_unlock(pool_lock)
    spin_lock(pool_lock)
    if known < n:
        spin_unlock(pool_lock)
        return -1
    free[0] = known - n
    spin_unlock(pool_lock)
    return 0


def take_with_other(n: int) -> int:
    """Another lock is held meanwhile."""
    spin_lock(other_lock)
    spin_lock(pool_lock)
    known = fits(n)
    free[0] = free[0] - (n if known else 0)
    spin_unlock(pool_lock)
    spin_unlock(other_lock)
    return 0 if known else -1


def op_take(args: Args) -> Outcome:
    """Take n pages."""
    return OK if take(int(args["n"])) == 0 else Outcome(-1, "ENOMEM")


def op_give(args: Args) -> Outcome:
    """Add a page, under both locks."""
    spin_lock(other_lock)
    spin_lock(pool_lock)
    free[0] = free[0] + 1
    spin_unlock(pool_lock)
    spin_unlock(other_lock)
    return OK


def op_swap(args: Args) -> Outcome:
    """Take both locks in the other order."""
    spin_lock(pool_lock)
    spin_lock(other_lock)
    spin_unlock(other_lock)
    spin_unlock(pool_lock)
    return OK


def op_leak(args: Args) -> Outcome:
    """Never release the lock."""
    mutex_lock(pool_lock)
    return OK


def op_free(args: Args) -> Outcome:
    """Release the lock, whoever took it."""
    mutex_unlock(pool_lock)
    return OK


def op_spin(args: Args) -> Outcome:
    """Take and release a lock again and again."""
    for _ in range(int(args["n"])):
        mutex_lock(other_lock)
        mutex_unlock(other_lock)
    return OK


def digest_state() -> Hashable:
    """Everything."""
    return tuple(free)


def digest_user() -> Hashable:
    """Everything."""
    return tuple(free)


def key_state() -> Hashable:
    """Everything."""
    return (*free, pool_lock.owner is not None)


def observe_sections() -> dict[str, Any]:
    """Everything."""
    return {"pool": {"free": free[0]}}


class ToyConventions:
    """What the port tier must know of the toy."""

    endings: Mapping[type[BaseException], Ending] = {
        KernelBug: "bug",
        KernelDeadlock: "deadlock",
        KernelHang: "hang",
    }
    sections = frozenset({"pool"})
    fuel = 10_000

    def machine(self, namespace: Mapping[str, Any]) -> Any:
        return namespace["machine"]


def series(*patches: Patch) -> Series:
    """A series on the toy."""
    module = ModuleType("tests.toy_port")
    shared = {"OK": OK, "Outcome": Outcome, "Lock": Lock, "Machine": Machine}
    vars(module).update({**shared, **_functions_of(sys.modules[__name__])})
    for name in _HARNESS:
        vars(module).pop(name, None)
    module.__annotations__ = dict.fromkeys(("machine", "pool_lock", "other_lock", "free"), Any)
    machinery = ModuleType("machinery")
    names = ("KernelBug", "KernelCrash", "KernelDeadlock", "KernelHang", "ULONG_MAX")
    vars(machinery).update({name: getattr(kernel, name) for name in names})
    vars(machinery).update(
        {
            **_functions_of(kernel),
            **_functions_of(locks),
            "NOBODY": locks.NOBODY,
            "FREED": locks.FREED,
        }
    )
    vars(machinery).pop("machine_init")
    return Series("toy", "A toy", collect([machinery, module]), patches)


def _functions_of(module: ModuleType) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__
    }


def replacing(**bodies: Any) -> Patch:
    """A patch that gives functions other bodies."""
    return Patch("patch", "A patch", replace=bodies)


def tier(*patches: Patch) -> PortTier:
    """The tier of a series of the toy."""
    return PortTier(series(*patches), ToyConventions(), {})


SPECS = {
    "take": OpSpec("take", {"proc": ("A", "B", "C"), "n": (1, 2)}, frozenset({"proc", "n"}), ""),
    "give": OpSpec("give", {"proc": ("A", "B", "C")}, frozenset({"proc"}), ""),
    "swap": OpSpec("swap", {"proc": ("A", "B", "C")}, frozenset({"proc"}), ""),
}


class ToyGenerator:
    """Draws without memory."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = kinds

    def world(self, rng: Random) -> Args:
        return {"pages": rng.randrange(3)}

    def start(self, world: Args) -> None:
        pass

    def op(self, rng: Random, kind: str | None = None) -> Op:
        spec = SPECS[kind or rng.choice(self.kinds)]
        return Op(spec.kind, {key: rng.choice(domain) for key, domain in spec.domains.items()})

    def saw(self, op: Op, outcome: Outcome) -> None:
        pass


class ToySubject:
    """The subject; ``kinds`` are the operations that are drawn."""

    name = "toy"
    ops: Mapping[str, OpSpec] = SPECS
    worlds: Mapping[str, Sequence[Scalar]] = {"pages": range(4)}
    invariants: Sequence[Invariant] = ()
    goals: Sequence[Goal] = ()
    user_sections = frozenset({"pool"})
    excluded: Sequence[Excluded] = ()

    def __init__(self, kinds: Sequence[str] = ("take", "give"), alone: Sequence[str] = ()) -> None:
        self.kinds = kinds
        self.alone = alone
        self.traces: tuple[Trace, ...] = ()

    def generator(self) -> Generator:
        return ToyGenerator(self.kinds)

    def check_world(self, world: Args) -> None:
        pass

    def check_op(self, op: Op) -> None:
        pass

    def examples(self) -> Iterable[Trace]:
        return self.traces

    def task_of(self, op: Op) -> str | None:
        return None if op.kind in self.alone else str(op.args["proc"])


_HARNESS = frozenset({"series", "replacing", "tier", "_functions_of"})
