"""The tier ``port``: a linked step of a series, run in this process.

The subject's modules supply, by name, what the backend calls: ``boot_world(world)`` after all
``static_data`` functions, one ``op_KIND(args)`` for each operation, and the observation:
``observe_sections()``, ``digest_user()``, ``digest_state()``, ``key_state()``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Protocol

from equivalence.backends import memento
from equivalence.backends.instrument import Recorder, instrument
from equivalence.backends.interleave import Interleaver, Switches, Together
from equivalence.series import Step
from equivalence.subject import Observation, Predicate, Relation
from models.schema.outcome import REFUSED, Ending, Outcome
from models.schema.trace import Args, Op, Scalar


class Conventions(Protocol):
    """How a subject's modules tell the backend of fatal endings, warnings and effects."""

    #: Exception type -> the ending it stands for.
    endings: Mapping[type[BaseException], Ending]
    #: What ``machine.fuel`` is set to before every operation: the work that it may do.
    fuel: int
    sections: frozenset[str]

    def machine(self, namespace: Mapping[str, Any]) -> Any:
        """The object with ``warnings``, ``effects`` and ``fuel`` of a booted namespace."""


class PortSystem:
    """One linked step, booted in one world."""

    def __init__(
        self,
        step: Step,
        conventions: Conventions,
        *,
        effects: bool = False,
        evidence: Iterable[str] = (),
        predicates: Iterable[Predicate] = (),
        overrides: Mapping[str, CodeType] | None = None,
    ) -> None:
        self.step = step
        self.sections = conventions.sections
        self._conventions = conventions
        self._endings = dict(conventions.endings)
        self._fatal = tuple(self._endings)
        self._fuel = conventions.fuel
        self._effects = effects
        self.recorder = Recorder()
        bodies: dict[str, CodeType] = dict(overrides or {})
        chosen = tuple(predicates)
        for name in evidence:
            function = step.functions.get(name)
            if function is not None:
                bodies[name], self.recorder.points[name] = instrument(name, function, chosen)
        self._namespace = step.instantiate(bodies)
        self._namespace.update(self.recorder.bind())
        self._ops: dict[str, FunctionType] = {
            name[3:]: value
            for name, value in self._namespace.items()
            if name.startswith("op_") and isinstance(value, FunctionType)
        }
        self._static = [
            self._namespace[name]
            for name, value in step.table.items()
            if isinstance(value, FunctionType) and getattr(value, "__static_data__", False)
        ]
        self._data = tuple(sorted(step.data))
        self._dead: Outcome | None = None

    @property
    def namespace(self) -> Mapping[str, Any]:
        """The linked symbols: for the subject's own harness and for tests."""
        return self._namespace

    def boot(self, world: Args) -> None:
        """Set all global variables to their initial values and bring up ``world``."""
        for initialise in self._static:
            initialise()
        self._dead = None
        self._namespace["boot_world"](world)
        self._machine = self._conventions.machine(self._namespace)
        self._machine.effects = [] if self._effects else None

    def apply(self, op: Op) -> Outcome:
        """Run one operation; after a fatal outcome the system stays dead and refuses the rest."""
        if self._dead is not None:
            return REFUSED
        function = self._ops.get(op.kind)
        if function is None:
            return REFUSED
        machine = self._machine
        machine.fuel = self._fuel
        try:
            outcome: Outcome = function(op.args)
        except self._fatal as error:
            ending = self._ending(error)
            detail = f"{error} in {_where(error, ending)}"
            outcome = Outcome(ret=-1, ending=ending, detail=detail)
            self._dead = outcome
        except RecursionError as error:
            outcome = Outcome(
                ret=-1, ending="hang", detail=f"endless recursion in {_where(error, 'hang')}"
            )
            self._dead = outcome
        if machine.warnings:
            outcome = outcome._replace(warnings=tuple(machine.warnings))
            machine.warnings.clear()
        return outcome

    def apply_together(self, ops: Sequence[Op], switches: Switches) -> Together:
        """Run operations together, one in each task, switching where ``switches`` says."""
        deadlock = next(kind for kind, ending in self._endings.items() if ending == "deadlock")
        return Interleaver(self._machine, self.apply, deadlock, switches).run(ops)

    def _ending(self, error: BaseException) -> Ending:
        return next(ending for kind, ending in self._endings.items() if isinstance(error, kind))

    def observe(self) -> Observation:
        """The canonical state, by section."""
        observation: Observation = self._namespace["observe_sections"]()
        return observation

    def digest(self, relation: Relation) -> Hashable:
        """A token that is equal exactly if the compared state is equal."""
        name = "digest_user" if relation == "user" else "digest_state"
        token: Hashable = self._namespace[name]()
        return token

    def drain_effects(self) -> tuple[str, ...]:
        """The calls into the environment since the last drain."""
        log = self._machine.effects
        if not log:
            return ()
        effects = tuple(log)
        log.clear()
        return effects

    def state_key(self) -> Hashable:
        """The state without history: equal keys behave alike."""
        key: Hashable = self._namespace["key_state"]()
        return key

    def snapshot(self) -> object:
        """What all global variables and everything behind them hold."""
        data = {name: self._namespace[name] for name in self._data}
        return data, memento.capture(data), self._dead

    def restore(self, snapshot: object) -> None:
        """Set everything back to the snapshot."""
        assert isinstance(snapshot, tuple)
        data, saved, self._dead = snapshot
        self._namespace.update(data)
        memento.restore(saved)
        self._machine = self._conventions.machine(self._namespace)

    def coverable(self) -> Mapping[str, frozenset[str]]:
        """Function -> all points of the instrumented functions."""
        return self.recorder.points

    def covered(self) -> Mapping[str, frozenset[str]]:
        """Function -> the points reached."""
        return self.recorder.covered()

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        """Predicate -> inputs -> how often."""
        return self.recorder.rows

    def progress(self) -> int:
        """A number that grows with every point and every input reached for the first time."""
        return self.recorder.progress()

    def forget(self) -> None:
        """Forget what was covered and counted."""
        self.recorder.clear()


def _where(error: BaseException, ending: Ending) -> str:
    """The ported function that was running, by its C name.

    It is the innermost one; where a loop has no end, the outermost, as the loop may be stopped
    anywhere below it.
    """
    place = "?"
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        function = frame.f_globals.get(frame.f_code.co_name)
        origin = getattr(function, "__ported__", None)
        if origin is not None:
            place = f"{origin.name}() ({origin.file})"
            if ending == "hang":
                break
        trace = trace.tb_next
    return place
