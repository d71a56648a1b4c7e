"""Planted bugs on the ports: a function with another syntax tree, linked in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from types import CodeType, FunctionType
from typing import Protocol

from equivalence.mutants import Mutant, build, mutants_of
from equivalence.subject import Changes, Relation, System


class MutableTier(Protocol):
    """A tier whose functions can be replaced."""

    def functions(self, step: int) -> Mapping[str, FunctionType]:
        """The functions of a step."""

    def system(
        self,
        step: int,
        *,
        effects: bool = False,
        evidence: bool = True,
        overrides: Mapping[str, CodeType] | None = None,
        watch: Iterable[str] = (),
    ) -> System:
        """A system of the step with other code for some functions; ``watch`` names functions that
        report what ran."""

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ."""


def mutants_in(
    tier: MutableTier,
    step: int,
    names: Iterable[str],
    assertions: AbstractSet[str] = frozenset(),
) -> list[Mutant]:
    """All mutants of the named functions of a step."""
    functions = tier.functions(step)
    known = [name for name in dict.fromkeys(names) if name in functions]
    return [
        mutant
        for name in known
        for mutant in mutants_of(name, functions[name], functions, assertions)
    ]


def touched(tier: MutableTier, before: int, after: int) -> list[str]:
    """The functions that a pair of steps touches and that the second one still has."""
    changes = tier.changes(before, after)
    return [c.function for c in changes.functions if c.role in ("changed", "added")]


class PortWorkshop:
    """Systems of one step of a series on the ports, and of its mutants."""

    def __init__(
        self, tier: MutableTier, step: int, functions: Iterable[str], relation: Relation = "state"
    ) -> None:
        self._tier = tier
        self._step = step
        self._functions = tuple(functions)
        self._effects = relation == "effects"

    def original(self) -> System:
        """The step as it is."""
        return self._tier.system(self._step, effects=self._effects, evidence=False)

    def watched(self) -> System:
        """The step as it is; the functions that are mutated report what ran."""
        return self._tier.system(self._step, effects=self._effects, watch=self._functions)

    def mutated(self, mutant: Mutant) -> System:
        """The step with one function's body changed."""
        function = self._tier.functions(self._step)[mutant.function]
        return self._tier.system(
            self._step,
            effects=self._effects,
            evidence=False,
            overrides={mutant.function: build(mutant, function).__code__},
        )


class PortPlanter:
    """Plants bugs in a series on the ports; calls of ``assertions`` are left alone."""

    def __init__(self, tier: MutableTier, assertions: AbstractSet[str] = frozenset()) -> None:
        self._tier = tier
        self._assertions = assertions

    def touched(self, before: int, after: int) -> Sequence[Mutant]:
        """Mutants of the functions that a pair of steps touches."""
        return self.named(after, touched(self._tier, before, after))

    def chosen(self, mutants: Sequence[Mutant]) -> Sequence[Mutant]:
        """All: they cost little."""
        return mutants

    def has(self, step: int, function: str) -> bool:
        """Whether a step has a function."""
        return function in self._tier.functions(step)

    def named(self, step: int, functions: Sequence[str]) -> Sequence[Mutant]:
        """Mutants of functions of a step."""
        return mutants_in(self._tier, step, functions, self._assertions)

    def mark(self, step: int) -> str:
        """A hash of all functions' code."""
        digest = sha256(f"{sys.version_info[:2]}".encode())
        for name, function in sorted(self._tier.functions(step).items()):
            digest.update(f"{name} {_code(function.__code__)}".encode())
        return digest.hexdigest()

    def workshop(self, step: int, mutants: Sequence[Mutant], relation: Relation) -> PortWorkshop:
        """What makes systems of a step and of these mutants."""
        functions = dict.fromkeys(mutant.function for mutant in mutants)
        return PortWorkshop(self._tier, step, functions, relation)


def _code(code: CodeType) -> str:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
