"""A linked step as a system, and the tier: endings, snapshots, evidence, how steps differ."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import changed_lines
from equivalence.series import Patch
from models.kernel.locks import spin_lock, spin_unlock
from models.kernel.machine import bug_on
from models.kernel.port import ported
from models.schema.outcome import OK, REFUSED, Outcome
from models.schema.trace import Op
from tests import toy_port
from tests.toy_port import ToyConventions, replacing, tier

TAKE = Op("take", {"proc": "A", "n": 1})
GIVE = Op("give", {"proc": "A"})

if TYPE_CHECKING:
    # The link joins them.
    from tests.toy_port import free, machine, other_lock


def bugs() -> dict[str, Any]:
    """BUG() instead of an error."""

    @ported("toy.c", "__take")
    def take(n: int) -> int:
        bug_on(free[0] < n, "pool is empty")
        free[0] -= n
        return 0

    return {"take": take}


def warns() -> dict[str, Any]:
    """WARN() and an error."""

    def take(n: int) -> int:
        if free[0] < n:
            machine.warnings.append("pool is empty")
            return -1
        free[0] -= n
        return 0

    return {"take": take}


def loops() -> dict[str, Any]:
    """A lock is taken again and again, in a function below the one with the loop."""

    @ported("toy.c", "take_loop")
    def take(n: int) -> int:
        while True:
            take_more(n)

    @ported("toy.c", "take_again")
    def take_more(n: int) -> int:
        spin_lock(other_lock)
        spin_unlock(other_lock)
        return n

    return {"take": take, "take_more": take_more}


def recurses() -> dict[str, Any]:
    """Two functions that never return."""

    @ported("toy.c", "take_deep")
    def take(n: int) -> int:
        return take_more(n) + 1

    @ported("toy.c", "take_deeper")
    def take_more(n: int) -> int:
        return take(n) + 1

    return {"take": take, "take_more": take_more}


def booted(bodies: dict[str, Any], pages: int = 1) -> PortSystem:
    """The toy with other bodies, in a world of so many pages."""
    new = {name: body for name, body in bodies.items() if name == "take_more"}
    old = {name: body for name, body in bodies.items() if name not in new}
    made = tier(Patch("patch", "A patch", add=new, replace=old)).system(1)
    assert isinstance(made, PortSystem)
    made.boot({"pages": pages})
    return made


def test_a_bug_names_the_ported_function_and_leaves_the_system_dead() -> None:
    system = booted(bugs())
    assert system.apply(TAKE) == OK
    outcome = system.apply(TAKE)
    assert (outcome.ret, outcome.ending) == (-1, "bug")
    assert outcome.detail == "pool is empty in __take() (toy.c)"
    assert system.apply(GIVE) is REFUSED
    system.boot({"pages": 1})
    assert system.apply(GIVE) == OK


def test_where_no_ported_function_ran_none_is_named() -> None:
    def take(n: int) -> int:
        bug_on(True, "no name")
        return n

    assert booted({"take": take}).apply(TAKE).detail == "no name in ?"


def test_a_loop_without_end_is_a_hang_of_the_outermost_function() -> None:
    system = booted(loops())
    outcome = system.apply(TAKE)
    assert outcome.ending == "hang"
    assert outcome.detail.endswith("in take_loop() (toy.c)")
    assert system.apply(GIVE) is REFUSED


def test_endless_recursion_is_a_hang() -> None:
    system = booted(recurses())
    outcome = system.apply(TAKE)
    assert (outcome.ret, outcome.ending) == (-1, "hang")
    assert outcome.detail == "endless recursion in take_deep() (toy.c)"
    assert system.apply(GIVE) is REFUSED


def test_warnings_belong_to_the_operation_that_made_them() -> None:
    system = booted(warns(), 0)
    assert system.apply(TAKE) == Outcome(-1, "ENOMEM", warnings=("pool is empty",))
    assert system.apply(GIVE) == OK


def test_an_unknown_operation_is_refused() -> None:
    assert booted({}).apply(Op("fly", {})) is REFUSED


def test_a_snapshot_knows_whether_the_system_was_dead() -> None:
    system = booted(bugs())
    alive = system.snapshot()
    system.apply(TAKE)
    system.apply(TAKE)
    dead = system.snapshot()
    system.restore(alive)
    assert system.apply(TAKE) == OK
    system.restore(dead)
    assert system.apply(GIVE) is REFUSED


def test_effects_are_told_in_order_and_once() -> None:
    system = tier().system(0, effects=True)
    assert isinstance(system, PortSystem)
    system.boot({"pages": 1})
    assert system.drain_effects() == ()
    system.apply(TAKE)
    assert system.drain_effects() == ("spin_lock pool", "spin_unlock pool")
    assert system.drain_effects() == ()
    assert system.namespace["free"] == [0]
    silent = booted({})
    silent.apply(TAKE)
    assert silent.drain_effects() == ()


def test_evidence_is_asked_only_of_functions_that_the_step_has() -> None:
    step = toy_port.series().steps[0]
    system = PortSystem(step, ToyConventions(), evidence=("take", "not_there"))
    system.boot({"pages": 0})
    before = system.progress()
    assert system.apply(TAKE) == Outcome(-1, "ENOMEM")
    assert system.coverable().keys() == {"take"}
    assert system.covered()["take"] < system.coverable()["take"]
    assert system.progress() > before
    system.forget()
    assert not any(system.covered().values())


def test_the_same_code_in_two_steps_is_identical() -> None:
    made = tier(replacing(take=toy_port.take))
    assert made.changes(0, 1).identical
    assert not tier(replacing(take=toy_port.take_late)).changes(0, 1).identical
    assert made.obstacle(1) is None


def test_changed_lines_leave_out_comments_and_docstrings() -> None:
    def before(n: int) -> int:
        """Before."""
        total = 0
        for i in range(n):
            try:
                total += i
            except ValueError:
                total -= 1
            finally:
                total += 0
        return total

    def after(n: int) -> int:
        # No docstring, and a comment.
        total = 0
        for i in range(n):
            try:
                total += i
            except ValueError:
                total -= 2
            finally:
                total += 0
        return total

    assert isinstance(before, FunctionType)
    assert isinstance(after, FunctionType)
    changed = changed_lines(before, after)
    first = before.__code__.co_firstlineno
    other = after.__code__.co_firstlineno
    assert [sorted(lines) for lines in changed] == [[first + 7], [other + 7]]


def test_a_function_without_changed_lines_owes_nothing() -> None:
    """Other constants of its signature make it another function, but none of its lines changed."""

    def one(n: int = 1) -> int:
        return n

    def two(n: int = 2) -> int:
        return n

    made = tier(
        Patch("first", "Add", add={"take_more": one}),
        Patch("second", "Change the default", replace={"take_more": two}),
    )
    (change,) = made.changes(1, 2).functions
    assert (change.function, change.role) == ("take_more", "changed")
    assert not change.before
    assert not change.after
    for pair, role in (((0, 1), "added"), ((1, 0), "removed")):
        (change,) = made.changes(*pair).functions
        assert change.role == role
        assert bool(change.before) == (role == "removed")
        assert bool(change.after) == (role == "added")


@pytest.mark.parametrize("step", [0, 1])
def test_functions_of_a_step(step: int) -> None:
    made = tier(replacing(take=toy_port.take_late))
    body = toy_port.take_late if step else toy_port.take
    assert made.functions(step)["take"].__code__.co_name == body.__code__.co_name
