"""A subject of thirty lines, so that a second subject is never theory.

A pool of pages: ``take`` some under a name, ``give`` them back, ``grow`` the pool. The steps of its
series change the rule by which pages may be taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any

from equivalence.subject import (
    Change,
    Changes,
    Excluded,
    Generator,
    Goal,
    Hunk,
    Invariant,
    Observation,
    OpSpec,
    PatchInfo,
    Predicate,
    Relation,
    WorldError,
)
from models.schema.outcome import OK, REFUSED, Outcome
from models.schema.trace import Args, Op, Scalar, Trace, TraceError

Rule = Callable[[int, int], bool]


def plenty(free: int, n: int) -> bool:
    """The base's rule."""
    return free >= n


def plenty_too(free: int, n: int) -> bool:
    """The same rule, written otherwise."""
    return not n > free


def greedy(free: int, n: int) -> bool:
    """A broken rule: one page too many, but only of three or more."""
    return free >= n or (n >= 3 and free == n - 1)


class Toy:
    """The system: a pool, and who holds how many of its pages."""

    sections = frozenset({"pool", "holders"})

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.log: list[str] = []
        self.forget()

    def boot(self, world: Args) -> None:
        pages = world.get("pages")
        if not (isinstance(pages, int) and 0 <= pages <= 8):
            msg = f"pages is {pages}, expected 0 to 8"
            raise WorldError(msg)
        self.free = pages
        self.held: dict[str, int] = {}
        self.log = []

    def apply(self, op: Op) -> Outcome:
        return getattr(self, f"op_{op.kind}")(**op.args)  # type: ignore[no-any-return]

    def op_take(self, who: str, n: int) -> Outcome:
        allowed = self.rule(self.free, n)
        self._seen.add("true" if allowed else "false")
        self._rows[min(self.free, 4), n] += 1
        if not allowed:
            return Outcome(-1, "ENOMEM")
        self.free -= n
        self.held[who] = self.held.get(who, 0) + n
        self.log.append(f"take {n}")
        return OK

    def op_give(self, who: str) -> Outcome:
        if who not in self.held:
            return REFUSED
        self.free += self.held.pop(who)
        return OK

    def op_grow(self, n: int) -> Outcome:
        if self.free + n > 12:
            return Outcome(-1, ending="bug", detail="pool overflow")
        self.free += n
        return OK._replace(warnings=("pool is large",)) if self.free > 10 else OK

    def observe(self) -> Observation:
        return {"pool": {"free": self.free}, "holders": dict(sorted(self.held.items()))}

    def digest(self, relation: Relation) -> Hashable:
        return (self.free,) if relation == "user" else (self.free, *sorted(self.held.items()))

    def drain_effects(self) -> tuple[str, ...]:
        effects, self.log = tuple(self.log), []
        return effects

    def state_key(self) -> Hashable:
        return self.digest("state")

    def snapshot(self) -> object:
        return deepcopy((self.free, self.held))

    def restore(self, snapshot: Any) -> None:
        self.free, self.held = deepcopy(snapshot)

    def coverable(self) -> Mapping[str, frozenset[str]]:
        return {"rule": frozenset({"true", "false"})}

    def covered(self) -> Mapping[str, frozenset[str]]:
        return {"rule": frozenset(self._seen)}

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        return {"enough": self._rows}

    def progress(self) -> int:
        return len(self._seen) + len(self._rows)

    def forget(self) -> None:
        self._seen: set[str] = set()
        self._rows: Counter[tuple[Scalar, ...]] = Counter()


WHO = ("A", "B", "C")
SIZES = (0, 1, 2, 3, 4)


class ToyGenerator:
    """Draws without memory: three names suffice."""

    def world(self, rng: Random) -> Args:
        return {"pages": rng.randrange(7)}

    def start(self, world: Args) -> None:
        pass

    def op(self, rng: Random, kind: str | None = None) -> Op:
        chosen = kind or rng.choice(("take", "take", "give", "grow"))
        spec = OPS[chosen]
        return Op(chosen, {key: rng.choice(domain) for key, domain in spec.domains.items()})

    def saw(self, op: Op, outcome: Outcome) -> None:
        pass


OPS = {
    "take": OpSpec("take", {"who": WHO, "n": SIZES}, frozenset({"who", "n"}), "take pages"),
    "give": OpSpec("give", {"who": WHO}, frozenset({"who"}), "give all back"),
    "grow": OpSpec("grow", {"n": SIZES[:3]}, frozenset({"n"}), "add pages"),
}


def _in_debt(observation: Observation) -> str | None:
    free = observation["pool"]["free"]
    return f"{free} pages free" if free < 0 else None


class ToySubject:
    """What the engine asks about the toy."""

    name = "toy"
    ops: Mapping[str, OpSpec] = OPS
    worlds: Mapping[str, Sequence[Scalar]] = {"pages": range(9)}
    invariants: Sequence[Invariant] = (Invariant("no-debt", "free is never negative", _in_debt),)
    goals: Sequence[Goal] = (
        Goal("refused", "a take fails", lambda op, out: out.errno is not None, "take", True),
        Goal("anything", "any operation", lambda op, out: True),
    )
    user_sections = frozenset({"pool"})
    excluded: Sequence[Excluded] = (Excluded("pool", "name", "pools have no names"),)

    def generator(self) -> Generator:
        return ToyGenerator()

    def check_world(self, world: Args) -> None:
        Toy(plenty).boot(world)

    def check_op(self, op: Op) -> None:
        if op.kind not in self.ops or set(op.args) != set(self.ops[op.kind].domains):
            msg = f"{op} is not an operation of the toy"
            raise TraceError(msg)

    def examples(self) -> Iterable[Trace]:
        return [Trace("toy", {"pages": 1}, (Op("take", {"who": "A", "n": 1}),))]


# More than four pages are as good as four, as nobody takes more at once.
DOMAIN = tuple((free, n) for free in range(5) for n in SIZES)


class ToyTier:
    """A series whose step k takes by ``rules[k]``."""

    name = "toy"
    series = "toy-series"

    def __init__(self, *rules: Rule, system: type[Toy] = Toy) -> None:
        self.rules = rules
        self.kind = system
        self.limits: Mapping[str, str] = {"coverage": "the outcomes of the rule"}
        self.patches: Sequence[PatchInfo] = [
            PatchInfo(f"patch {k}", f"rule {rule.__name__}") for k, rule in enumerate(rules[1:], 1)
        ]
        self.hunks: tuple[Hunk, ...] = ()
        self.undeclared: tuple[str, ...] = ()

    def obstacle(self, step: int) -> str | None:
        return None

    def system(self, step: int, *, effects: bool = False, evidence: bool = True) -> Toy:
        return self.kind(self.rules[step])

    def changes(self, before: int, after: int) -> Changes:
        old, new = self.rules[before], self.rules[after]
        if old is new:
            return Changes(identical=True)
        both = frozenset({"true", "false"})
        return Changes(
            identical=False,
            functions=(Change("rule", "changed", both, both), Change("op_take", "caller")),
            predicates=(Predicate("enough", ("free", "n"), DOMAIN, old, new, ("rule",)),),
            hunks=self.hunks,
            undeclared=self.undeclared,
            only_predicates=True,
        )
