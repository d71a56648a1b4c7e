"""What plants bugs in the series that was chosen, on either tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from equivalence.backends.native.planter import NativePlanter
from equivalence.backends.native.tier import NativeTier
from equivalence.backends.port_planter import PortPlanter
from equivalence.backends.port_tier import PortTier
from equivalence.campaign import Mutate
from equivalence.cli.choose import Chosen
from equivalence.cli.errors import InputError
from equivalence.explorer import SmallWorld
from equivalence.mutate import Plan, Planter
from equivalence.scores import Scores


@dataclass(frozen=True, slots=True)
class Planting:
    """A planter, the names of the functions of the reservation core there, and the small worlds
    that its mutants are searched for in."""

    planter: Planter
    core: tuple[str, ...]
    worlds: tuple[SmallWorld, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run spends on planted bugs: operations of drawn traces and states of each world on the
    ports, operations and mutants of each pair on the C, as every one is compiled."""

    ops: int
    states: int
    native_ops: int
    native_mutants: int


#: Profiles that plant bugs in the functions that a pair touches.
PROFILES: Final[Mapping[str, Budget]] = {
    "ci": Budget(10_000, 0, 4_000, 24),
    "nightly": Budget(50_000, 300, 20_000, 400),
}


def planting_of(chosen: Chosen, limit: int | None = None) -> Planting | None:
    """What plants bugs in a series; None: it is made of neither ports nor C. ``limit`` bounds how
    many are planted in what a pair touches, where each must be compiled."""
    from equivalence.subjects.hugetlb.mutation import (
        ASSERTIONS,
        ASSERTIONS_IN_C,
        core,
        core_in_c,
    )
    from equivalence.subjects.hugetlb.worlds import WORLDS

    if isinstance(chosen.tier, PortTier):
        return Planting(PortPlanter(chosen.tier, ASSERTIONS), core(), WORLDS)
    if isinstance(chosen.tier, NativeTier):
        return Planting(NativePlanter(chosen.tier, limit, ASSERTIONS_IN_C), core_in_c(), ())
    return None


def scores(options: Mapping[str, Any], chosen: Chosen) -> Mutate | None:
    """What plants bugs in a run of these options; None: nothing does."""
    from equivalence.subjects.hugetlb.mutation import explained

    budget = PROFILES.get(options["profile"])
    if budget is None or options["ops"] is not None:
        return None
    planting = planting_of(chosen, budget.native_mutants)
    if planting is None:
        return None
    native = isinstance(chosen.tier, NativeTier)
    plan = Plan(
        budget.native_ops if native else budget.ops,
        states=budget.states,
        seed=options["seed"],
        relation=options["relation"],
    )
    worlds = planting.worlds if plan.states else ()
    return Scores(chosen.subject, planting.planter, worlds, explained, plan, options["jobs"])


def needed(planting: Planting | None, series: str) -> Planting:
    """The planting, or the message that there is none.

    Raises:
        InputError: the series is made of neither ports nor C.
    """
    if planting is None:
        msg = f"series {series!r}: it is not made of ports, so it cannot be mutated"
        raise InputError(msg)
    return planting


def names_of(options: Mapping[str, Any], planting: Planting, step: int) -> Sequence[str]:
    """The functions that are named, or those of the core.

    Raises:
        InputError: the step has no such function.
    """
    for name in options["functions"]:
        if not planting.planter.has(step, name):
            msg = f"function {name!r}: step {step} has none; 'equivcheck show functions' lists them"
            raise InputError(msg)
    if options["functions"] or not options["core"]:
        return tuple(options["functions"])
    return tuple(name for name in planting.core if planting.planter.has(step, name))
