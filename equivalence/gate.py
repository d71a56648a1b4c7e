"""From a series to verdicts: which pairs are checked, by which searches, and what is said of each.

One run: the A/A control of every step, then every pair of steps. What a pair's searches
(:mod:`equivalence.campaign`) find is confirmed, made minimal and kept, and the verdict is what the
evidence earns. The gate neither prints nor exits: it tells events and returns a
:class:`models.schema.result.Result`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from equivalence.adequacy import Search, gather, judge, rung
from equivalence.campaign import (
    PROFILES,
    AgainstChoice,
    Config,
    Found,
    Replays,
    deadline_of,
    search_pair,
)
from equivalence.drawn import draw_all
from equivalence.events import (
    DefectFound,
    DivergenceFound,
    Event,
    Mutating,
    Note,
    OnEvent,
    PairFinished,
    PairName,
    PairStarted,
    RunFinished,
    RunStarted,
    Shrinking,
    Stopped,
)
from equivalence.exhaust import explore_pair
from equivalence.explain import (
    Minimal,
    confirm,
    differences,
    shrink_defect,
    shrink_divergence,
    shrink_fault,
    timeline,
)
from equivalence.jobs import Pool, Stop, Worker, interruptible
from equivalence.parting import call_trees
from equivalence.reaching import reaching
from equivalence.search import Points, Row, defect_index
from equivalence.store import Store, StoreError
from equivalence.subject import (
    Changes,
    Evidence,
    PairText,
    PatchInfo,
    Reproducible,
    Subject,
    Tier,
)
from models.schema.divergence import Divergence, plain
from models.schema.result import (
    INTERRUPTED,
    Control,
    Counterexample,
    Defect,
    Limits,
    NotCompared,
    Pair,
    PairTiming,
    PatchText,
    Result,
    Timing,
    Verdict,
    exit_status,
)
from models.schema.result import Evidence as EvidenceText
from models.schema.trace import Trace, format_trace


def run(
    config: Config, subject: Subject, tier: Tier, on_event: OnEvent = lambda event: None
) -> Result:
    """Check a series.

    Raises:
        StoreError: the store cannot be read or written.
        TraceError: a kept trace cannot be read or is not one of this subject.
        WorldError: a kept trace's world cannot boot.
    """
    return _Run(config, subject, tier, on_event).result()


def plan(patches: Sequence[PatchInfo], against: AgainstChoice) -> tuple[PairName, ...]:
    """The pairs of a run, in order: controls, then each step against predecessor and base."""
    names = ["base", *(patch.name for patch in patches)]
    steps = range(1, len(names))
    pairs = [PairName(k, k, name, "self") for k, name in enumerate(names)]
    if against != "base":
        pairs += [PairName(k - 1, k, names[k], "previous") for k in steps]
    if against != "previous":
        # With "both", patch 1 against the base is patch 1 against its predecessor.
        first = 2 if against == "both" else 1
        pairs += [PairName(0, k, names[k], "base") for k in steps[first - 1 :]]
    return tuple(pairs)


def told_of(tier: Tier, series: str, before: int, after: int, found: Divergence | None) -> PairText:
    """What reproducers say of a pair; ``series`` is what ``--series`` takes."""
    names = (_step_name(tier, before), _step_name(tier, after))
    about = f"{tier.series}: {names[0]} and {names[1]}"
    if found is not None:
        place = "at boot" if found.op_index < 0 else f"after op {found.op_index} ({found.op})"
        about += f" differ in {found.first.field} {place}"
    return PairText(about, names, (before, after), series or tier.series)


def _step_name(tier: Tier, step: int) -> str:
    if step == 0:
        return "step 0 (base)"
    patch = tier.patches[step - 1]
    return f"step {step} ({patch.name} {patch.title})"


class _Run:
    """One run; its parts share what they have found."""

    def __init__(self, config: Config, subject: Subject, tier: Tier, on_event: OnEvent) -> None:
        self.config = config
        self.subject = subject
        self.tier = tier
        self.tell: Callable[[Event], None] = on_event
        self.stop = Stop()
        self.worker = Worker(subject, tier, config.relation, self.stop)
        self.store = Store(config.store) if config.store is not None else None
        self.started = time.monotonic()
        self.pairs: list[Pair] = []
        self.timings: list[PairTiming] = []
        self.replays = Replays()
        self.defects: list[Defect] = []
        self.controls: dict[int, Control] = {}
        self.notes: list[str] = []
        self.waivers: list[str] = []
        self.not_compared: tuple[NotCompared, ...] = ()
        self.truncated = False

    def result(self) -> Result:
        """Run everything."""
        self.replays = Replays(self._kept(), tuple(self.subject.examples()))
        names = plan(self.tier.patches, self.config.against)
        self.tell(RunStarted(names, self.config.ops))
        with interruptible(self.stop), Pool(self.worker, self.config.jobs) as pool:
            for position, name in enumerate(names):
                self._pair(pool, name, len(names) - position)
        if self.stop:
            self.tell(Stopped("interrupted"))
        elif self.truncated:
            self.tell(Stopped(f"the time limit of {self.config.time_limit_s:g} s was reached"))
        result = self._result()
        self.tell(RunFinished(result))
        return result

    def _kept(self) -> tuple[Trace, ...]:
        if self.store is None:
            return ()
        self.store.prepare()
        return tuple(self.store.load(self.subject.name, self._check))

    def _check(self, trace: Trace) -> None:
        self.subject.check_world(trace.world)
        for op in trace.ops:
            self.subject.check_op(op)

    def _pair(self, pool: Pool, name: PairName, left: int) -> None:
        started = time.monotonic()
        self.tell(PairStarted(name))
        obstacles = {k: self.tier.obstacle(k) for k in (name.before, name.after)}
        obstacle = next((f"step {k}: {text}" for k, text in obstacles.items() if text), None)
        if obstacle is not None:
            pair = self._said(name, Verdict.NOT_CHECKED, obstacle, Found())
        else:
            pair = self._checked(pool, name, left)
        seconds = time.monotonic() - started
        self.pairs.append(pair)
        self.timings.append(
            PairTiming(
                before=name.before,
                after=name.after,
                seconds=round(seconds, 3),
                ops_per_second=round(pair.ops / seconds, 1) if seconds else 0.0,
            )
        )
        self.tell(PairFinished(name, pair, seconds))

    def _checked(self, pool: Pool, name: PairName, left: int) -> Pair:
        """Search and judge; what goes wrong in that is this pair's verdict, not the run's end."""
        try:
            return self._verdict(name, self._search(pool, name, left))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            reason = f"{type(error).__name__}: {error} ({where})"
            if name.against == "self":
                self.controls[name.before] = Control(
                    step=name.before, agreed=False, ops=0, traces=0, detail=reason
                )
            return self._said(name, Verdict.ERROR, reason, Found())

    def _search(self, pool: Pool, name: PairName, left: int) -> Found:
        if name.against != "self" and self.tier.changes(name.before, name.after).identical:
            return Found()
        both = {name.before, name.after}
        known = frozenset(d.invariant for d in self.defects if both <= set(d.steps))
        deadline = deadline_of(self.config, self.started, left)
        exhaust = self.config.worlds and name.against != "self"
        how = explore_pair if exhaust else search_pair
        found = how(pool, self.config, name, self.replays, known, deadline, self.stop, self.tell)
        self.truncated |= bool(found.cut_short)
        return found

    # -- saying ------------------------------------------------------------------------------

    def _verdict(self, name: PairName, found: Found) -> Pair:
        findings = found.findings
        self._note_not_compared(name)
        for invariant, (detail, trace) in findings.defects.items():
            self._defect(name, invariant, detail, trace)
        if findings.fault is not None:
            trace, text = findings.fault
            pair = self._said(name, Verdict.ERROR, self._faulty(name, trace, text), found)
        elif findings.divergence is not None:
            pair = self._diverged(name, found, *findings.divergence)
        elif name.against == "self":
            verdict = Verdict.INADEQUATE if found.cut_short else Verdict.NO_DIVERGENCE
            pair = self._said(name, verdict, found.cut_short, found)
        else:
            pair = self._judged(name, found, None)
        if name.against == "self":
            self.controls[name.before] = Control(
                step=name.before,
                agreed=pair.verdict is Verdict.NO_DIVERGENCE,
                ops=pair.ops,
                traces=pair.traces,
                detail=pair.reason,
            )
        return pair

    def _diverged(self, name: PairName, found: Found, trace: Trace, divergence: Divergence) -> Pair:
        lockstep = self.worker.lockstep(name.before, name.after)
        if not confirm(lockstep, trace, divergence):
            text = f"flaky: {divergence.first.field} differed once and not again"
            return self._said(name, Verdict.ERROR, self._keep_fault(name, trace, text), found)
        if name.against == "self":
            text = f"one step differs from itself in {divergence.first.field}"
            return self._said(name, Verdict.ERROR, self._keep_fault(name, trace, text), found)
        self.tell(Shrinking(divergence.first.field, len(trace.ops)))
        small = shrink_divergence(lockstep, trace, divergence, self.subject, self._stopped)
        counterexample = self._counterexample(name, small)
        self.tell(DivergenceFound(name, counterexample))
        return self._judged(name, found, counterexample)

    def _judged(self, name: PairName, found: Found, example: Counterexample | None) -> Pair:
        changes = self.tier.changes(name.before, name.after)
        evidence = self._evidence(name, changes, found)
        verdict = judge(
            changes, evidence, diverged=example is not None, declared=self._declared(name)
        )
        if verdict is Verdict.NO_DIVERGENCE and found.bounds:
            verdict = Verdict.EXHAUSTED
        reasons = {
            Verdict.EXHAUSTED: "; ".join(
                f"world {world}: {bound or 'its fixpoint'}" for world, bound in found.bounds.items()
            ),
            Verdict.DIVERGED: f"{example.field} differs" if example is not None else "",
            Verdict.CHANGED_AS_DECLARED: f"{example.field} differs" if example is not None else "",
            Verdict.INADEQUATE: "; ".join(evidence.missing),
            Verdict.NOT_CHECKED: "; ".join(
                f"{h.where} is not hosted: {h.reason}"
                for h in changes.hunks
                if h.fate == "not hosted"
            ),
        }
        return Pair(
            before=name.before,
            after=name.after,
            patch=name.patch,
            title=self._title(name),
            against=name.against,
            verdict=verdict,
            rung=rung(changes, evidence, verdict, fixpoint=not any(found.bounds.values())),
            reason=reasons.get(verdict, ""),
            ops=found.findings.ops,
            traces=found.findings.traces,
            states=len(found.findings.states) if found.states is None else found.states,
            evidence=evidence,
            counterexample=example,
        )

    def _said(self, name: PairName, verdict: Verdict, reason: str, found: Found) -> Pair:
        """A verdict that does not rest on the evidence of a search."""
        agreed = verdict is Verdict.NO_DIVERGENCE
        return Pair(
            before=name.before,
            after=name.after,
            patch=name.patch,
            title=self._title(name),
            against=name.against,
            verdict=verdict,
            rung="no divergence in N ops" if agreed else "nothing",
            reason=reason,
            ops=found.findings.ops,
            traces=found.findings.traces,
            states=len(found.findings.states),
            evidence=EvidenceText(searches=tuple(found.searches.values())),
        )

    def _evidence(self, name: PairName, changes: Changes, found: Found) -> EvidenceText:
        mutate = self.config.mutate
        steps = sorted({name.before, name.after})
        search = Search(
            found.findings,
            found.budget,
            tuple(found.searches.values()),
            tuple(self.controls[step] for step in steps),
            (self._coverable(name.before, 0), self._coverable(name.after, 1)),
            self.tier.limits.get("coverage", ""),
            found.cut_short,
            {row: format_trace(trace) for row, trace in self._reaching(name, changes, found)},
            tuple(world for world, bound in found.bounds.items() if not bound),
        )
        mutants = None
        if mutate is not None and not changes.identical and not found.cut_short:
            limit = self.config.time_limit_s
            end = None if limit is None else self.started + limit
            self.tell(Mutating(name))
            mutants = mutate(name, lambda: self._late(end))
            self.truncated |= mutants.not_tried > 0 and not self.stop
        return draw_all(
            self.tier,
            (name.before, name.after),
            gather(changes, search, self.subject.goals, mutants),
            search,
        )

    def _reaching(
        self, name: PairName, changes: Changes, found: Found
    ) -> Iterable[tuple[Row, Trace]]:
        if found.bounds:
            return found.reached.items()
        systems = self.worker.system(name.before, 0), self.worker.system(name.after, 1)
        reached = found.findings.reached
        small = reaching(changes.predicates, reached, systems, self.subject, self._stopped)
        return small.items()

    def _coverable(self, step: int, slot: int) -> Points | None:
        system = self.worker.system(step, slot)
        return dict(system.coverable()) if isinstance(system, Evidence) else None

    def _declared(self, name: PairName) -> bool:
        """Whether one of the pair's patches may change behaviour; says so at the head."""
        declared = False
        for number in range(name.before + 1, name.after + 1):
            patch = self.tier.patches[number - 1]
            trusted = self.config.trust_patches and patch.declares_change
            if number in self.config.expected or trusted:
                declared = True
                who = "the command line" if number in self.config.expected else "the patch itself"
                waiver = f"{patch.name} may change behaviour: {who} says so"
                if waiver not in self.waivers:
                    self.waivers.append(waiver)
        return declared

    def _title(self, name: PairName) -> str:
        return self.tier.patches[name.after - 1].title if name.after else ""

    def _note_not_compared(self, name: PairName) -> None:
        if not self.not_compared:
            oracle = self.worker.oracle(name.before, name.after)
            self.not_compared = tuple(
                NotCompared(section=item.section, field=item.field, reason=item.reason)
                for item in oracle.not_compared
            )

    # -- keeping -----------------------------------------------------------------------------

    def _counterexample(self, name: PairName, small: Minimal) -> Counterexample:
        lockstep = self.worker.lockstep(name.before, name.after)
        divergence = lockstep.run(small.trace)
        assert divergence is not None, "a shrunk trace diverges"
        first = divergence.first
        trace = self._commented(
            small.trace,
            f"{self.tier.series} on tier {self.tier.name}: step {name.before} and {name.after}",
            f"op {divergence.op_index} ({divergence.op.kind}): {first.field} is "
            f"{plain(first.before)} before, {plain(first.after)} after",
        )
        path = self._save("divergence", trace)
        initial, steps = timeline(lockstep.before, lockstep.after, trace)
        changes = self.tier.changes(name.before, name.after).functions
        return Counterexample(
            trace=format_trace(trace),
            op_index=divergence.op_index,
            op=str(divergence.op),
            field=first.field,
            before_value=plain(first.before),
            after_value=plain(first.after),
            ops=len(trace.ops),
            reproducer=path,
            replay=self._replay(path),
            function=divergence.function,
            differences=differences(divergence),
            initial=initial,
            timeline=steps,
            calls=call_trees(
                self.tier, (name.before, name.after), changes, trace, divergence.op_index
            ),
            shrinking=small.shrinking,
            reproducers=self._reproducers(name, trace, divergence),
        )

    def _reproducers(self, name: PairName, trace: Trace, found: Divergence) -> dict[str, str]:
        if not isinstance(self.subject, Reproducible):
            return {}
        lockstep = self.worker.lockstep(name.before, name.after)
        told = told_of(self.tier, self.config.series, name.before, name.after, found)
        systems = (lockstep.before, lockstep.after)
        return dict(self.subject.reproducers(trace, systems, told))

    def _defect(self, name: PairName, invariant: str, detail: str, trace: Trace) -> None:
        """Make a defect's trace minimal and see which steps it holds for; told once."""
        broken = [k for k in (name.before, name.after) if self._breaks(k, invariant, trace)]
        if not broken:
            note = f"{invariant} ({detail}) was seen once on steps {name.before}, {name.after}"
            self._note(f"{note} and not again: {self._keep_fault(name, trace, 'flaky')}")
            return
        self.tell(Shrinking(invariant, len(trace.ops)))
        system = self.worker.system(broken[0], 0)
        small = shrink_defect(system, trace, invariant, self.subject, self._stopped)
        steps = range(len(self.tier.patches) + 1)
        hosted = [k for k in steps if self.tier.obstacle(k) is None]
        found = tuple(k for k in hosted if self._breaks(k, invariant, small.trace))
        about = next((i.about for i in self.subject.invariants if i.name == invariant), invariant)
        kept = self._commented(small.trace, f"breaks {invariant!r} on steps {_numbers(found)}")
        path = self._save("defect", kept)
        defect = Defect(
            invariant=invariant,
            about=about,
            detail=detail,
            steps=found,
            trace=format_trace(kept),
            ops=len(kept.ops),
            reproducer=path,
            replay=self._replay(path),
            shrinking=small.shrinking,
        )
        self.defects.append(defect)
        self.tell(DefectFound(defect))

    def _breaks(self, step: int, invariant: str, trace: Trace) -> bool:
        system = self.worker.system(step, 0)
        return defect_index(system, trace, invariant, self.subject) is not None

    def _faulty(self, name: PairName, trace: Trace, text: str) -> str:
        lockstep = self.worker.lockstep(name.before, name.after)
        self.tell(Shrinking("fault", len(trace.ops)))
        small = shrink_fault(lockstep, trace, self.subject, self._stopped)
        return self._keep_fault(name, small.trace, text)

    def _keep_fault(self, name: PairName, trace: Trace, text: str) -> str:
        place = f"{self.tier.series} on tier {self.tier.name}: steps {name.before}, {name.after}"
        path = self._save("fault", self._commented(trace, place, text))
        return f"{text}; replay it with: {self._replay(path)}" if path is not None else text

    def _commented(self, trace: Trace, *comments: str) -> Trace:
        return replace(trace, comments=comments)

    def _save(self, kind: str, trace: Trace) -> str | None:
        if self.store is None:
            return None
        try:
            return str(self.store.save(kind, trace))
        except StoreError as error:
            self._note(str(error))
            return None

    def _replay(self, path: str | None) -> str | None:
        return None if path is None else self.config.replay.format(trace=path)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.tell(Note(text))

    def _late(self, end: float | None) -> bool:
        return bool(self.stop) or (end is not None and time.monotonic() > end)

    def _stopped(self) -> bool:
        return bool(self.stop)

    def _result(self) -> Result:
        interrupted = bool(self.stop)
        config, tier = self.config, self.tier
        status = exit_status([pair.verdict for pair in self.pairs])
        return Result(
            exit_status=INTERRUPTED if interrupted else status,
            tier=tier.name,
            series=tier.series,
            patches=tuple(
                PatchText(
                    number=number, name=p.name, title=p.title, declares_change=p.declares_change
                )
                for number, p in enumerate(tier.patches, start=1)
            ),
            seed=config.seed,
            command=config.command,
            limits=Limits(
                relation=config.relation,
                profile=config.profile,
                ops=config.ops,
                jobs=config.jobs,
                time_limit_s=config.time_limit_s,
                truncated=self.truncated,
                interrupted=interrupted,
                tasks=config.tasks,
                interleaving=(
                    f"{config.tasks} tasks, switched at lock boundaries"
                    if config.tasks > 1
                    else "none: one task, every operation returns before the next begins"
                ),
                tier=dict(tier.limits),
                versions={
                    "equivcheck": version("equivcheck"),
                    "hypothesis": version("hypothesis"),
                    "python": python_version(),
                },
            ),
            pairs=tuple(self.pairs),
            defects=tuple(self.defects),
            not_compared=self.not_compared,
            waivers=tuple(self.waivers),
            notes=tuple(self.notes),
            timing=Timing(
                seconds=round(time.monotonic() - self.started, 3), pairs=tuple(self.timings)
            ),
        )


def _numbers(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))


__all__ = ["PROFILES", "Config", "plan", "run"]
