"""The A/A control: one step against itself, and every trace a second time on the same system.

A difference here is a fault of ours, whatever a pair's search says: two instances that differ share
or leak something, and a trace that gives two results on one system is flaky. What this does not
show: that both instances are right, or that another process would agree.
"""

from __future__ import annotations

from collections.abc import Hashable

from equivalence.driver import FaultError
from equivalence.search import Session
from equivalence.subject import Batch, Ran, Relation, System
from models.schema.outcome import Outcome
from models.schema.trace import Args, Op

Log = list[tuple[Outcome, Hashable]]


class ControlSession(Session):
    """A session on two systems of one step; runs each trace again when it has ended."""

    def begin(self, world: Args, thorough: bool | None = None) -> bool:
        """Boot both sides for a new trace."""
        self._log: Log = []
        return super().begin(world, thorough)

    def step(self, op: Op) -> bool:
        """Run one operation on both sides and note what the first one did."""
        going = super().step(op)
        if not self.findings.over:
            self._log.append(self._entry(self.lockstep.before, self.lockstep.outcome))
        return going

    def _ran(self, ran: Ran) -> None:
        self._log += _entries(ran, self.lockstep.oracle.relation)

    def end(self) -> None:
        """End the trace, then run it again on the first system alone."""
        super().end()
        if self.findings.over:
            return
        trace = self.trace()
        system = self.lockstep.before
        if isinstance(system, Batch):
            system.send(trace.ops, trace.world)
            again = _entries(system.receive(), self.lockstep.oracle.relation)
            for index, (op, one, other) in enumerate(zip(trace.ops, again, self._log, strict=True)):
                if one != other:
                    self._two_results(index, op)
                    return
            return
        system.boot(trace.world)
        # As after the first boot: what has no name gets its number when it is first looked at.
        system.digest(self.lockstep.oracle.relation)
        for index, (op, entry) in enumerate(zip(trace.ops, self._log, strict=True)):
            if self._entry(system, system.apply(op)) != entry:
                self._two_results(index, op)
                return

    def _two_results(self, index: int, op: Op) -> None:
        msg = f"the same trace gave two results on one system, at op {index} ({op})"
        self._fault(FaultError(msg, "two results"))

    def _entry(self, system: System, outcome: Outcome) -> tuple[Outcome, Hashable]:
        relation = self.lockstep.oracle.relation
        return outcome, None if outcome.fatal else system.digest(relation)


def _entries(ran: Ran, relation: Relation) -> Log:
    pairs = zip(ran.outcomes, ran.states(relation), strict=True)
    return [(outcome, None if outcome.fatal else state) for outcome, state in pairs]
