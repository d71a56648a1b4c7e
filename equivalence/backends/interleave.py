"""Runs operations of a port together: each in a greenlet, switched inside the lock hook.

The subject's lock functions call the machine's ``lock_hook`` with what they do and to which lock:
before they take it, after they release it, and ``wait`` whenever it is held by another. Ports are
plain functions and know nothing of this. Between two boundaries a task runs alone: races on plain
memory between two boundaries are not seen, nor is weak ordering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from greenlet import greenlet

from models.schema.outcome import Outcome
from models.schema.trace import Op

#: More boundaries than any set of operations has that ends.
MAX_BOUNDARIES: Final = 20_000
Switches = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Together:
    """What operations that ran together came to.

    ``boundaries`` are the lock boundaries passed, in order: task, what was done, to which lock.
    ``inversions`` are pairs of locks that were taken in either order.
    """

    outcomes: tuple[Outcome, ...]
    boundaries: tuple[tuple[int, str, str], ...]
    inversions: tuple[tuple[str, str], ...]


class Interleaver:
    """One run of some operations; ``deadlock`` makes the exception that says nobody can go on."""

    def __init__(
        self,
        machine: Any,
        apply: Callable[[Op], Outcome],
        deadlock: Callable[[str], BaseException],
        switches: Switches,
    ) -> None:
        self._machine = machine
        self._apply = apply
        self._deadlock = deadlock
        self._switches = dict(switches)
        self._outcomes: dict[int, Outcome] = {}
        self._waits: dict[int, Any] = {}
        self._boundaries: list[tuple[int, str, str]] = []
        self._held: list[list[str]] = []
        self._orders: set[tuple[str, str]] = set()
        self._running = 0
        self._stuck = False

    def run(self, ops: Sequence[Op]) -> Together:
        """Run the operations until all have ended."""
        self._held = [[] for _ in ops]
        self._tasks = [greenlet(self._body(number, op)) for number, op in enumerate(ops)]
        machine = self._machine
        machine.lock_hook = self._hook_for()
        alone = machine.current
        try:
            while len(self._outcomes) < len(ops):
                self._switch_to(self._next())
        finally:
            machine.lock_hook = None
            machine.current = alone
        outcomes = tuple(self._outcomes[number] for number in range(len(ops)))
        inversions = {tuple(sorted(pair)) for pair in self._orders if pair[::-1] in self._orders}
        return Together(outcomes, tuple(self._boundaries), tuple(sorted(inversions)))  # type: ignore[arg-type]

    def _body(self, number: int, op: Op) -> Callable[[], None]:
        def body() -> None:
            self._outcomes[number] = self._apply(op)

        return body

    def _switch_to(self, task: int) -> None:
        self._running = task
        self._tasks[task].switch()

    def _next(self) -> int:
        """The first task that can run; if none can, one that then finds out that it never will."""
        unfinished = [n for n in range(len(self._tasks)) if n not in self._outcomes]
        able = [n for n in unfinished if n not in self._waits]
        self._stuck = not able
        return able[0] if able else unfinished[0]

    def _hook_for(self) -> Callable[[str, Any], None]:
        """The hook as a plain function: a state that is saved holds no methods."""

        def hook(what: str, lock: Any) -> None:
            self._hook(what, lock)

        return hook

    def _hook(self, what: str, lock: Any) -> None:
        task = self._running
        if what == "wait":
            self._waits[task] = lock
            self._give_way()
            if self._waits.pop(task, None) is not None:
                raise self._deadlock(f"waits for {_name(lock)}, which nobody will release")
            return
        point = len(self._boundaries)
        self._boundaries.append((task, what, _name(lock)))
        if point > MAX_BOUNDARIES:
            raise self._deadlock(f"more than {MAX_BOUNDARIES} lock boundaries")
        self._note(task, what, _name(lock))
        if "unlock" in what or what.startswith("up_"):
            for other in [n for n, waited in self._waits.items() if waited is lock]:
                del self._waits[other]
        wanted = self._switches.get(point, task)
        able = wanted < len(self._tasks) and wanted not in self._waits
        if wanted != task and able and wanted not in self._outcomes:
            self._give_way(wanted)

    def _give_way(self, to: int | None = None) -> None:
        """Let another task run; come back when the scheduler says so."""
        machine, task = self._machine, self._running
        saved = machine.current, machine.fuel
        if to is None:
            to = self._next()
            if self._stuck:
                return
        self._running = to
        self._tasks[to].switch()
        self._running = task
        machine.current, machine.fuel = saved

    def _note(self, task: int, what: str, name: str) -> None:
        held = self._held[task]
        if "unlock" in what or what.startswith("up_"):
            if name in held:
                held.remove(name)
            return
        self._orders.update((other, name) for other in held if other != name)
        held.append(name)


def _name(lock: Any) -> str:
    return str(getattr(lock, "name", type(lock).__name__))
