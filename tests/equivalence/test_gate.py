"""Whole runs on the toy: what each outcome of the searches becomes in the result."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from equivalence import campaign, gate
from equivalence.campaign import Config, deadline_of
from equivalence.events import (
    DefectFound,
    DivergenceFound,
    Event,
    Note,
    PairFinished,
    PairStarted,
    Progress,
    RunFinished,
    RunStarted,
    Shrinking,
    Stopped,
)
from equivalence.gate import plan
from equivalence.store import Store, StoreError
from equivalence.subject import Change, Changes, Hunk, PairText, PatchInfo, Relation, System
from models.schema.outcome import Outcome
from models.schema.result import (
    Counterexample,
    MutantEvidence,
    Pair,
    Result,
    Verdict,
    json_schema,
    parse_result,
)
from models.schema.trace import Args, Op, Trace, TraceError, parse_trace
from tests.toy import Toy, ToySubject, ToyTier, greedy, plenty, plenty_too

CONFIG = Config(ops=1600, command="equivcheck run --ops 1600")
SUBJECT = ToySubject()


@pytest.fixture(autouse=True)
def _small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small budget has rounds of many jobs too."""
    small_jobs(monkeypatch.setattr)


def small_jobs(put: Callable[[object, str, object], None]) -> None:
    put(campaign, "CHUNK", 100)


def run(
    *rules: Callable[[int, int], bool],
    system: type[Toy] = Toy,
    subject: ToySubject = SUBJECT,
    on_event: Callable[[Event], None] = lambda event: None,
    **config: Any,
) -> Result:
    tier = ToyTier(*rules, system=system)
    result = gate.run(replace(CONFIG, **config), subject, tier, on_event)
    jsonschema.validate(json.loads(result.to_json()), json_schema())
    assert parse_result(result.to_json()) == result
    return result


def verdicts(result: Result) -> list[tuple[int, int, str, str]]:
    return [(p.before, p.after, p.against, p.verdict.value) for p in result.pairs]


def pair(result: Result, before: int, after: int) -> Pair:
    return next(p for p in result.pairs if (p.before, p.after) == (before, after))


def example(one: Pair) -> Counterexample:
    assert one.counterexample is not None
    return one.counterexample


def same_bytes(result: Result) -> str:
    untimed = json.loads(result.to_json())
    del untimed["timing"], untimed["limits"]["jobs"]
    return json.dumps(untimed)


def test_a_series_that_changes_nothing() -> None:
    result = run(plenty, plenty_too)
    assert verdicts(result) == [
        (0, 0, "self", "no-divergence"),
        (1, 1, "self", "no-divergence"),
        (0, 1, "previous", "no-divergence"),
    ]
    assert result.exit_status == 0
    one = pair(result, 0, 1)
    assert one.rung == "predicates equal on every input"
    assert (one.patch, one.title) == ("patch 1", "rule plenty_too")
    assert one.ops in range(1600, 1800)
    assert {s.name for s in one.evidence.searches} == {"examples", "machine", "sampler"}
    assert sum(s.ops for s in one.evidence.searches) == one.ops
    assert sum(one.evidence.outcomes.values()) == one.ops
    assert one.evidence.missing == ()
    assert [c.step for c in one.evidence.controls] == [0, 1]
    assert one.evidence.mutants is None
    assert one.evidence.measured == "the outcomes of the rule"
    assert result.limits.tier == {"coverage": "the outcomes of the rule"}
    assert set(result.limits.versions) == {"equivcheck", "hypothesis", "python"}
    assert [n.section for n in result.not_compared] == ["effects", "pool"]
    assert result.command == "equivcheck run --ops 1600"
    assert {(d.invariant, d.steps) for d in result.defects} == {
        ("warning: pool is large", (0, 1)),
        ("bug: pool overflow", (0, 1)),
    }


def test_a_planted_bug_ends_in_exactly_the_expected_trace(tmp_path: Path) -> None:
    result = run(plenty, plenty_too, greedy, store=tmp_path, replay="replay {trace} --x")
    assert verdicts(result)[3:] == [
        (0, 1, "previous", "no-divergence"),
        (1, 2, "previous", "diverged"),
        (0, 2, "base", "diverged"),
    ]
    assert result.exit_status == 1
    found = example(pair(result, 1, 2))
    assert found.trace == (
        "equivcheck-trace/1 toy\n"
        "# toy-series on tier toy: step 1 and 2\n"
        "# op 0 (take): outcome.ret is -1 before, 0 after\n"
        "world pages=2\n"
        "take who=A n=3\n"
    )
    assert (found.op_index, found.op, found.ops) == (0, "take who=A n=3", 1)
    assert (found.field, found.before_value, found.after_value) == ("outcome.ret", -1, 0)
    assert [d.field for d in found.differences] == [
        "outcome.ret",
        "outcome.errno",
        "pool.free",
        "holders.A",
    ]
    assert len(found.timeline) == 1
    assert found.reproducer is not None
    assert parse_trace(Path(found.reproducer).read_text()) == parse_trace(found.trace)
    assert found.replay == f"replay {found.reproducer} --x"
    assert found.shrinking is not None
    assert found.shrinking.complete
    debt = next(d for d in result.defects if d.invariant == "no-debt")
    assert (debt.steps, debt.ops, debt.about) == ((2,), 1, "free is never negative")


def test_what_was_found_is_replayed_first(tmp_path: Path) -> None:
    run(plenty, greedy, store=tmp_path)
    again = run(plenty, greedy, store=tmp_path)
    assert [s.name for s in pair(again, 0, 1).evidence.searches] == ["kept"]
    assert pair(again, 0, 1).ops < 20
    fixed = run(plenty, plenty_too, store=tmp_path)
    assert pair(fixed, 0, 1).verdict is Verdict.NO_DIVERGENCE
    searches = pair(fixed, 0, 1).evidence.searches
    assert [s.name for s in searches] == ["kept", "examples", "machine", "sampler"]
    assert searches[0].traces == len(Store(tmp_path).files())


def test_many_examples_are_many_jobs() -> None:
    class Rich(ToySubject):
        def examples(self) -> Iterable[Trace]:
            give = Op("give", {"who": "A"})
            return [Trace("toy", {"pages": n}, (give,) * 30) for n in range(9)]

    events: list[Event] = []
    result = run(plenty, plenty_too, subject=Rich(), on_event=events.append)
    one = pair(result, 0, 1)
    assert (one.evidence.searches[0].ops, one.evidence.searches[0].traces) == (270, 9)
    replays = [e.ops for e in events if isinstance(e, Progress) and e.pair.before < e.pair.after]
    assert replays[:3] == [120, 240, 270]


def test_the_number_of_jobs_changes_no_byte() -> None:
    one = run(plenty, plenty_too, greedy, seed=3)
    assert same_bytes(one) == same_bytes(run(plenty, plenty_too, greedy, seed=3, jobs=2))
    assert same_bytes(one) != same_bytes(run(plenty, plenty_too, greedy, seed=4))


def test_the_hash_seed_changes_no_byte() -> None:
    code = (
        "from tests.equivalence.test_gate import *\n"
        "small_jobs(setattr)\n"
        "print(same_bytes(run(plenty, plenty_too, greedy)))\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_identical_code_is_not_searched() -> None:
    result = run(plenty, plenty)
    one = pair(result, 0, 1)
    assert (one.verdict, one.rung, one.ops) == (Verdict.IDENTICAL, "identical code", 0)
    assert result.exit_status == 0


def test_a_flaky_system_fails_its_control(tmp_path: Path) -> None:
    class Flaky(Toy):
        calls = count(1)

        def op_take(self, who: str, n: int) -> Outcome:
            broken = next(self.calls) == 97
            return Outcome(-1, "EIO") if broken else super().op_take(who, n)

    result = run(plenty, plenty_too, system=Flaky, store=tmp_path)
    control = pair(result, 0, 0)
    assert control.verdict is Verdict.ERROR
    assert control.reason.startswith(
        "flaky: outcome.ret differed once and not again; "
        f"replay it with: equivcheck replay {tmp_path}/fault-"
    )
    assert result.exit_status == 4
    assert pair(result, 0, 1).verdict is Verdict.INADEQUATE


def test_a_control_that_did_not_agree_makes_its_pairs_inadequate() -> None:
    """Each instance has its own habit, so only step 0 against itself ever differs."""

    class Peculiar(Toy):
        made = count()

        def __init__(self, rule: Callable[[int, int], bool]) -> None:
            super().__init__(rule)
            self.habit = next(self.made)

        def op_give(self, who: str) -> Outcome:
            # Made in this order: step 0 twice for its control, step 1 twice for its own.
            return Outcome(value=self.habit == 1)

    result = run(plenty, plenty_too, system=Peculiar)
    assert pair(result, 0, 0).reason == "one step differs from itself in outcome.value"
    assert pair(result, 0, 0).verdict is Verdict.ERROR
    one = pair(result, 0, 1)
    assert one.verdict is Verdict.INADEQUATE
    assert one.reason.startswith("the A/A control of step 0 did not agree: one step differs")


def test_an_inadequate_search_names_what_it_lacks() -> None:
    class Roomy(ToySubject):
        """Worlds so large and operations so small that nothing is ever refused."""

        def generator(self) -> Any:
            made = super().generator()
            made.world = lambda rng: {"pages": 8}  # type: ignore[method-assign]
            draw = made.op
            made.op = (  # type: ignore[method-assign]
                lambda rng, kind=None: draw(rng, "give" if kind == "take" else kind or "give")
            )
            return made

        def examples(self) -> Iterable[Trace]:
            return []

    result = run(plenty, plenty_too, subject=Roomy())
    assert result.exit_status == 3
    one = pair(result, 0, 1)
    assert one.verdict is Verdict.INADEQUATE
    assert one.evidence.missing == (
        "changed code of rule did not run before the patch: false, true",
        "changed code of rule did not run after the patch: false, true",
        "predicate 'enough': 25 of 25 inputs were not reached: "
        "(free=0 n=0), (free=0 n=1), (free=0 n=2), (free=0 n=3) and 21 more",
        "goal 'refused' was not reached: a take fails",
    )
    assert one.reason == "; ".join(one.evidence.missing)


class Raising(Toy):
    def op_give(self, who: str) -> Outcome:
        if self.rule is plenty_too and self.held.get(who) == 2:
            raise KeyError(who)
        return super().op_give(who)


def test_a_system_that_raises_is_an_error_with_its_smallest_trace(tmp_path: Path) -> None:
    result = run(plenty, plenty_too, system=Raising, store=tmp_path)
    assert result.exit_status == 4
    one = pair(result, 0, 1)
    assert one.verdict is Verdict.ERROR
    assert one.reason.startswith("the system after the patch raised KeyError: ")
    path = Path(one.reason.split()[-1])
    trace = parse_trace(path.read_text())
    assert [str(op) for op in trace.ops] == ["take who=A n=2", "give who=A"]
    assert pair(run(plenty, plenty_too, system=Raising), 0, 1).verdict is Verdict.ERROR


class Deaf(Toy):
    """Differs in its effects alone."""

    def op_take(self, who: str, n: int) -> Outcome:
        outcome = super().op_take(who, n)
        if self.rule is plenty_too:
            self.log.clear()
        return outcome


def test_the_relation_decides_how_much_must_agree() -> None:
    assert pair(run(plenty, plenty_too, system=Deaf), 0, 1).verdict is Verdict.NO_DIVERGENCE
    result = run(plenty, plenty_too, system=Deaf, relation="effects")
    found = example(pair(result, 0, 1))
    assert (found.field, found.before_value, found.after_value) == (
        "effects.0",
        "take 0",
        "(absent)",
    )
    assert result.limits.relation == "effects"
    user = run(plenty, plenty_too, system=Deaf, relation="user")
    assert [n.section for n in user.not_compared] == ["holders", "effects", "pool"]


def test_declared_changes_are_expected_and_head_the_result() -> None:
    expected = run(plenty, greedy, expected=frozenset({1}))
    assert pair(expected, 0, 1).verdict is Verdict.CHANGED_AS_DECLARED
    assert expected.exit_status == 0
    assert expected.waivers == ("patch 1 may change behaviour: the command line says so",)
    unseen = run(plenty, plenty_too, plenty, expected=frozenset({1}))
    assert [p.verdict.value for p in unseen.pairs[3:]] == [
        "declared-but-unseen",
        "no-divergence",
        "declared-but-unseen",
    ]
    assert unseen.exit_status == 1
    assert len(unseen.waivers) == 1


def test_patches_are_believed_only_when_asked() -> None:
    class Honest(ToyTier):
        patches: Sequence[PatchInfo] = ()

        def __init__(self) -> None:
            super().__init__(plenty, greedy)
            self.patches = [PatchInfo("patch 1", "greed", declares_change=True)]

    for trust, verdict in ((False, "diverged"), (True, "changed-as-declared")):
        result = gate.run(replace(CONFIG, trust_patches=trust), SUBJECT, Honest())
        assert pair(result, 0, 1).verdict.value == verdict
        assert result.patches[0].declares_change
    assert result.waivers == ("patch 1 may change behaviour: the patch itself says so",)


def test_what_cannot_be_run_or_is_not_hosted_is_not_checked() -> None:
    class Broken(ToyTier):
        def obstacle(self, step: int) -> str | None:
            return "does not apply" if step == 1 else None

    result = gate.run(CONFIG, SUBJECT, Broken(plenty, plenty_too, plenty_too))
    assert [(p.before, p.after) for p in result.pairs if p.verdict is Verdict.NOT_CHECKED] == [
        (1, 1),
        (0, 1),
        (1, 2),
    ]
    assert pair(result, 0, 1).reason == "step 1: does not apply"
    assert pair(result, 0, 2).verdict is Verdict.NO_DIVERGENCE
    assert result.exit_status == 3
    assert all(1 not in d.steps for d in result.defects)

    tier = ToyTier(plenty, plenty_too)
    tier.hunks = (Hunk("mm/a.c:1", "not hosted", "no such file"), Hunk("b", "not compiled", "n"))
    one = pair(gate.run(CONFIG, SUBJECT, tier), 0, 1)
    assert one.verdict is Verdict.NOT_CHECKED
    assert one.reason == "mm/a.c:1 is not hosted: no such file"
    assert [h.fate for h in one.evidence.hunks] == ["not hosted", "not compiled"]


def test_ctrl_c_saves_what_was_found(tmp_path: Path) -> None:
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, DivergenceFound):
            signal.raise_signal(signal.SIGINT)

    result = run(plenty, greedy, plenty_too, store=tmp_path, on_event=tell)
    assert result.exit_status == 130
    assert result.limits.interrupted
    assert [p.verdict.value for p in result.pairs[3:]] == ["diverged", "inadequate", "inadequate"]
    assert result.pairs[-1].reason.startswith("interrupted after 0 of 1600 operations; ")
    assert any(f.name.startswith("divergence-") for f in Store(tmp_path).files())
    assert Stopped("interrupted") in events
    assert isinstance(events[-1], RunFinished)


def test_ctrl_c_while_jobs_run() -> None:
    started = count()

    def tell(event: Event) -> None:
        if isinstance(event, Progress) and next(started) == 1:
            signal.raise_signal(signal.SIGINT)

    result = run(plenty, plenty_too, jobs=2, on_event=tell)
    assert result.exit_status == 130
    assert len(result.pairs) == 3
    assert not result.limits.truncated or result.limits.interrupted


def test_ctrl_c_while_shrinking_leaves_the_trace_as_it_is(tmp_path: Path) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, Shrinking) and event.what == "outcome.ret":
            signal.raise_signal(signal.SIGINT)

    ops = [*[Op("give", {"who": "A"})] * 5, *(Op("take", {"who": "A", "n": n}) for n in (4, 2, 3))]
    Store(tmp_path).save("kept", Trace("toy", {"pages": 8}, tuple(ops)))
    result = run(plenty, greedy, store=tmp_path, on_event=tell)
    found = example(pair(result, 0, 1))
    assert found.ops == 8
    assert found.shrinking is not None
    assert not found.shrinking.complete
    assert result.exit_status == 130
    assert pair(result, 0, 1).verdict is Verdict.DIVERGED


def test_a_time_limit_truncates_and_says_so() -> None:
    events: list[Event] = []
    result = run(plenty, plenty_too, time_limit_s=1e-9, on_event=events.append)
    assert result.limits.truncated
    assert not result.limits.interrupted
    assert result.exit_status == 3
    assert pair(result, 0, 1).reason.startswith("the time limit was reached after 0 of 1600 op")
    assert Stopped("the time limit of 1e-09 s was reached") in events
    plenty_of_time = run(plenty, plenty_too, time_limit_s=1000.0)
    assert not plenty_of_time.limits.truncated


def test_the_time_limit_is_shared_by_the_pairs_that_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 130.0)
    config = replace(CONFIG, time_limit_s=60.0)
    assert deadline_of(config, 100.0, 3) == 140.0
    assert deadline_of(config, 10.0, 3) == 130.0
    assert deadline_of(CONFIG, 100.0, 3) is None


def test_the_plan() -> None:
    patches = [PatchInfo("a", "A"), PatchInfo("b", "B")]

    def pairs(against: Any) -> list[tuple[int, int, str]]:
        return [(n.before, n.after, n.against) for n in plan(patches, against)]

    controls = [(0, 0, "self"), (1, 1, "self"), (2, 2, "self")]
    previous = [(0, 1, "previous"), (1, 2, "previous")]
    assert pairs("previous") == controls + previous
    assert pairs("base") == [*controls, (0, 1, "base"), (0, 2, "base")]
    assert pairs("both") == [*controls, *previous, (0, 2, "base")]
    assert [n.patch for n in plan(patches, "previous")] == ["base", "a", "b", "a", "b"]


def test_events_tell_the_run_in_order() -> None:
    events: list[Event] = []
    result = run(plenty, greedy, on_event=events.append)
    kinds = [type(event) for event in events if not isinstance(event, (Progress, Note))]
    assert kinds[0] is RunStarted
    assert kinds[-1] is RunFinished
    assert kinds.count(PairStarted) == kinds.count(PairFinished) == 3
    assert kinds.count(DefectFound) == len(result.defects)
    assert kinds.count(DivergenceFound) == 1
    done = [e for e in events if isinstance(e, Progress) and e.pair.against == "self"]
    assert (done[-1].ops, done[-1].budget) == (500, 500)


def test_mutants_are_asked_for_when_there_is_something_to_mutate() -> None:
    asked: list[tuple[int, int]] = []

    def mutate(name: Any, stop: Any) -> MutantEvidence:
        asked.append((name.before, name.after))
        return MutantEvidence(killed=2, survived=1, survivors=("m1",))

    result = run(plenty, plenty_too, plenty_too, mutate=mutate)
    assert asked == [(0, 1), (0, 2)]
    mutants = pair(result, 0, 1).evidence.mutants
    assert mutants is not None
    assert mutants.survivors == ("m1",)
    assert pair(result, 1, 2).evidence.mutants is None


def test_a_defect_that_is_seen_once_is_noted() -> None:
    class Moody(Toy):
        grown = count()

        def op_grow(self, n: int) -> Outcome:
            warned = next(self.grown) in (50, 51)
            return Outcome(warnings=("odd",) if warned else ())

    result = run(plenty, plenty, system=Moody)
    assert not [d for d in result.defects if d.invariant == "warning: odd"]
    assert any("warning: odd (odd) was seen once on steps 0, 0 and not" in n for n in result.notes)


def test_a_store_that_fills_up_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise StoreError("store: cannot be written (No space left on device)")

    monkeypatch.setattr(Store, "save", full)
    events: list[Event] = []
    result = run(plenty, greedy, store=tmp_path, on_event=events.append)
    assert example(pair(result, 0, 1)).reproducer is None
    assert example(pair(result, 0, 1)).replay is None
    assert "No space left" in result.notes[0]
    assert Note(result.notes[0]) in events


def test_bad_kept_traces_are_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "kept.trace"
    path.write_text("equivcheck-trace/1 toy\nworld pages=1\nsteal who=A\n")
    with pytest.raises(TraceError, match="steal who=A is not an operation"):
        run(plenty, greedy, store=tmp_path)
    path.unlink()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        run(plenty, greedy, store=blocked)


def test_systems_without_evidence_are_inadequate() -> None:
    class Bare:
        """A system that measures nothing."""

        sections = Toy.sections

        def __init__(self, rule: Callable[[int, int], bool]) -> None:
            toy = Toy(rule)
            for name in ("boot", "apply", "observe", "digest", "drain_effects"):
                setattr(self, name, getattr(toy, name))

    class BareTier(ToyTier):
        def system(self, step: int, *, effects: bool = False, evidence: bool = True) -> Any:
            return Bare(self.rules[step])

    one = pair(gate.run(CONFIG, SUBJECT, BareTier(plenty, plenty_too)), 0, 1)
    assert one.verdict is Verdict.INADEQUATE
    assert one.evidence.missing[:2] == (
        "coverage is not measured on the side before the patch",
        "coverage is not measured on the side after the patch",
    )


def test_what_goes_wrong_with_one_pair_does_not_end_the_run() -> None:
    class Mute(Toy):
        def digest(self, relation: Relation) -> Hashable:
            if self.rule is plenty_too:
                raise RuntimeError("no digest")
            return super().digest(relation)

    class Broken(ToyTier):
        def changes(self, before: int, after: int) -> Changes:
            if (before, after) == (0, 3):
                raise ValueError("no such hunk")
            return super().changes(before, after)

    tier = Broken(plenty, plenty_too, plenty, greedy, system=Mute)
    result = gate.run(replace(CONFIG, against="base"), SUBJECT, tier)
    assert result.exit_status == 4
    assert [(p.before, p.after) for p in result.pairs if p.verdict is Verdict.ERROR] == [
        (1, 1),
        (0, 1),
        (0, 3),
    ]
    assert pair(result, 1, 1).reason.startswith("RuntimeError: no digest (test_gate.py:")
    assert pair(result, 0, 3).reason.startswith("ValueError: no such hunk (test_gate.py:")


def test_a_divergence_at_boot(tmp_path: Path) -> None:
    class Generous(Toy):
        def boot(self, world: Args) -> None:
            super().boot(world)
            self.free += self.rule is greedy

    found = example(pair(run(plenty, greedy, system=Generous), 0, 1))
    assert (found.op_index, found.ops, found.op) == (-1, 0, "world pages=0")
    assert (found.field, found.before_value, found.after_value) == ("pool.free", 0, 1)


def test_changes_that_are_only_callers_need_only_run() -> None:
    class Elsewhere(ToyTier):
        def changes(self, before: int, after: int) -> Changes:
            return Changes(identical=False, functions=(Change("op_take", "caller"),))

    one = pair(gate.run(CONFIG, SUBJECT, Elsewhere(plenty, plenty_too)), 0, 1)
    assert (one.verdict, one.rung) == (Verdict.NO_DIVERGENCE, "no divergence in N ops")


class TellingSubject(ToySubject):
    """Has reproducers: a file that says all it was told."""

    def reproducers(
        self, trace: Trace, systems: tuple[System, System], told: PairText
    ) -> dict[str, str]:
        assert systems[0] is not systems[1]
        return {"told.txt": f"{trace.ops[-1]}\n{told}"}


def test_reproducers_are_part_of_a_counterexample() -> None:
    result = run(plenty, greedy, subject=TellingSubject(), series="toys.py")
    found = example(pair(result, 0, 1))
    told = PairText(
        f"toy-series: step 0 (base) and step 1 (patch 1 rule greedy) differ in {found.field}"
        f" after op {found.op_index} ({found.op})",
        ("step 0 (base)", "step 1 (patch 1 rule greedy)"),
        (0, 1),
        "toys.py",
    )
    assert found.reproducers == {"told.txt": f"{found.op}\n{told}"}
    assert example(pair(run(plenty, greedy), 0, 1)).reproducers == {}
    assert gate.told_of(ToyTier(plenty, greedy), "", 0, 1, None) == told._replace(
        about="toy-series: step 0 (base) and step 1 (patch 1 rule greedy)", series="toy-series"
    )
