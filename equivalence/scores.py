"""How many planted bugs the searches catch: the score that is part of a pair's evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from equivalence.events import PairName
from equivalence.explorer import SmallWorld
from equivalence.jobs import derive_seed
from equivalence.mutants import Mutant
from equivalence.mutate import Fate, Hunter, Plan, Planter, hunt_all
from equivalence.subject import Subject
from models.schema.result import MutantEvidence

#: The reason why a mutant cannot be told from the original, by its key; None: no reason is known.
Reasons = Callable[[str], str | None]


def evidence_of(
    fates: Iterable[Fate], reason: Reasons, mutants: Sequence[Mutant] | None = None
) -> MutantEvidence:
    """The score, as a result holds it; explained mutants do not count as survivors.

    ``mutants`` are all that there are, where not every one was searched for.
    """
    every = list(fates)
    alive = [fate.mutant.key for fate in every if fate.survived]
    unexplained = tuple(key for key in alive if reason(key) is None)
    return MutantEvidence(
        killed=sum(fate.killed for fate in every),
        survived=len(unexplained),
        explained=len(alive) - len(unexplained),
        not_compiled=sum(not fate.compiles for fate in every),
        not_tried=0 if mutants is None else len(mutants) - len(every),
        survivors=unexplained,
        functions=tuple(dict.fromkeys(fate.mutant.function for fate in every)),
        searches=dict(Counter(fate.killed_by for fate in every if fate.killed).most_common()),
    )


class Scores:
    """What a run asks for the score of one pair: mutants of the functions that it touches.

    They are of the pair's second step, so pairs that end in the same step share what was found.
    """

    def __init__(
        self,
        subject: Subject,
        planter: Planter,
        worlds: Sequence[SmallWorld],
        reason: Reasons,
        plan: Plan,
        jobs: int = 1,
    ) -> None:
        self._subject = subject
        self._planter = planter
        self._worlds = worlds
        self._reason = reason
        self._plan = plan
        self._jobs = jobs
        self._known: dict[tuple[int, str], Fate] = {}

    def __call__(self, name: PairName, stop: Callable[[], bool]) -> MutantEvidence:
        """The score of a pair; what ``stop`` leaves over is counted.

        Raises:
            FaultError: the original step fails by itself.
        """
        step = name.after
        mutants = self._planter.touched(name.before, step)
        worth = self._planter.chosen(mutants)
        new = [mutant for mutant in worth if (step, mutant.key) not in self._known]
        if new and not stop():
            plan = replace(self._plan, seed=derive_seed(self._plan.seed, step, "mutants"))
            workshop = self._planter.workshop(step, new, plan.relation)
            with closing(Hunter(self._subject, workshop, self._worlds, plan)) as hunter:
                for fate in hunt_all(hunter, new, self._jobs, stop):
                    self._known[step, fate.mutant.key] = fate
        places = [(step, mutant.key) for mutant in worth]
        fates = [self._known[place] for place in places if place in self._known]
        return evidence_of(fates, self._reason, mutants)
