"""The exhaustive search: exact counts, shortest counterexamples, bounds, stop and go on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from equivalence import gate
from equivalence.campaign import Config
from equivalence.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from equivalence.events import Event, ExploreProgress
from equivalence.explorer import (
    Bounds,
    Exploration,
    SmallWorld,
    StaleError,
    explore,
    token,
)
from equivalence.jobs import Pool, Stop, Worker
from equivalence.subject import Branch, Relation
from models.schema.outcome import REFUSED, Outcome
from models.schema.result import Verdict
from models.schema.trace import Op
from tests.equivalence.test_ahead import BatchToy
from tests.toy import Rule, Toy, ToySubject, ToyTier, greedy, plenty, plenty_too

TAKES = tuple(Op("take", {"who": who, "n": n}) for who in "AB" for n in (1, 2, 3))
GIVES = tuple(Op("give", {"who": who}) for who in "AB")
SMALL = SmallWorld("small", "two takers", {"pages": 4}, TAKES + GIVES)
#: All states of SMALL: who holds how much of four pages.
STATES = 15


def exploration(
    *rules: Rule,
    small: SmallWorld = SMALL,
    bounds: Bounds = Bounds(),  # noqa: B008 -- frozen
    jobs: int = 1,
    steps: tuple[int, int] = (0, 1),
    kind: type[Toy] = Toy,
    found: Exploration | None = None,
    **more: Any,
) -> Exploration:
    worker = Worker(ToySubject(), ToyTier(*rules, system=kind), "state", Stop())
    found = Exploration(small) if found is None else found
    with Pool(worker, jobs) as pool:
        explore(pool, steps, found, bounds, **more)
    return found


class Key(NamedTuple):
    """A state key of a kind that is not written byte by byte."""

    free: int
    held: tuple[tuple[str, int], ...]


def test_a_state_key_may_be_of_any_kind() -> None:
    class Named(Toy):
        def state_key(self) -> Hashable:
            return Key(self.free, tuple(sorted(self.held.items())))

    found = exploration(plenty, plenty_too, kind=Named)
    assert found.fixpoint
    assert found.states == STATES
    one, other = Named(plenty), Named(plenty)
    for system in (one, other):
        system.boot({"pages": 4})
    assert token(one, other) == token(other, one)
    other.apply(TAKES[0])
    assert token(one, other) != token(one, one)
    assert token(one, other) != token(other, one)


def test_a_node_is_reached_in_one_call_where_a_system_has_one() -> None:
    found = exploration(plenty, plenty_too, kind=BatchToy)
    assert found.fixpoint
    assert found.states == STATES


def test_every_state_is_reached_and_every_operation_tried_in_it() -> None:
    found = exploration(plenty, plenty_too)
    assert found.fixpoint
    assert found.states == STATES
    assert found.transitions == STATES * len(SMALL.ops)
    assert found.depth == 2
    # One state, then six, then the other eight.
    assert found.levels == [0, 1, 7]
    assert found.findings.ops == found.transitions
    assert found.findings.goals == {"refused", "anything"}
    assert found.findings.before.covered == {"rule": frozenset({"true", "false"})}


class Branchy(Toy):
    """Tries operations at once; who asks for three pages is to be looked at."""

    def branches(self, ops: Sequence[Op], relation: Relation) -> list[Branch | None]:
        kept = self.snapshot()
        made: list[Branch | None] = []
        for op in ops:
            outcome = self.apply(op)
            made.append(Branch(outcome, self.digest(relation), self.state_key()))
            if op.args.get("n") == 3:
                made[-1] = None
            self.restore(kept)
        return made


def test_trying_operations_at_once_comes_to_the_same() -> None:
    one, two = (exploration(plenty, plenty_too, kind=kind) for kind in (Toy, Branchy))
    assert (one.parents, one.ops, one.tokens) == (two.parents, two.ops, two.tokens)
    assert (one.transitions, one.levels, one.ends) == (two.transitions, two.levels, two.ends)
    assert one.findings.outcomes == two.findings.outcomes
    assert one.findings.goals == two.findings.goals
    assert two.fixpoint
    first, second = (exploration(plenty, greedy, kind=kind) for kind in (Toy, Branchy))
    assert first.findings.divergence == second.findings.divergence is not None


def test_what_is_refused_at_once_leads_nowhere() -> None:
    class Refusing(Branchy):
        def apply(self, op: Op) -> Outcome:
            return REFUSED if op.args["who"] == "B" else super().apply(op)

    found = exploration(plenty, plenty_too, kind=Refusing)
    assert found.fixpoint
    assert found.states == 5
    assert found.findings.outcomes["give", "refused"] == 5 + 1  # once more to see the first state


def test_effects_are_compared_one_operation_at_a_time() -> None:
    worker = Worker(ToySubject(), ToyTier(plenty, plenty_too, system=Branchy), "effects", Stop())
    found = Exploration(SMALL)
    with Pool(worker, 1) as pool:
        explore(pool, (0, 1), found, Bounds())
    assert found.fixpoint
    assert found.states == STATES


def test_counts_do_not_depend_on_the_number_of_jobs() -> None:
    one, two = (exploration(plenty, plenty_too, jobs=jobs) for jobs in (1, 2))
    assert (one.parents, one.ops, one.tokens) == (two.parents, two.ops, two.tokens)
    assert one.transitions == two.transitions
    assert one.reached == two.reached


def test_the_first_divergence_has_as_few_operations_as_any() -> None:
    found = exploration(plenty, greedy)
    assert not found.fixpoint
    assert found.findings.divergence is not None
    trace, divergence = found.findings.divergence
    # Three pages are asked for when two are free: that takes one operation before.
    assert len(trace.ops) == 2
    assert divergence.op_index == 1
    assert trace.ops[1].args["n"] == 3


def test_each_row_of_a_predicate_has_a_shortest_trace() -> None:
    found = exploration(plenty, plenty_too)
    assert found.reached["enough", (4, 1)].ops == TAKES[:1]
    assert len(found.reached["enough", (0, 1)].ops) == 3


def test_depth_and_states_bound_the_search_and_it_says_so() -> None:
    shallow = exploration(plenty, plenty_too, bounds=Bounds(depth=1))
    assert shallow.bound == "traces of at most 1 operations"
    assert shallow.transitions == len(SMALL.ops)
    assert not shallow.fixpoint
    by_world = exploration(plenty, plenty_too, small=replace(SMALL, depth=0))
    assert (by_world.states, by_world.transitions) == (1, 0)
    few = exploration(plenty, plenty_too, bounds=Bounds(states=3))
    assert few.bound == "at most 3 states"
    deep = exploration(plenty, plenty_too, bounds=Bounds(depth=40))
    assert deep.fixpoint


def test_a_difference_before_the_first_operation_is_found() -> None:
    class Other(Toy):
        def boot(self, world: Any) -> None:
            super().boot(world)
            self.free += self.rule is greedy

    found = exploration(plenty, greedy, kind=Other)
    assert found.findings.divergence is not None
    assert found.states == 0


def test_first_operations_come_before_every_trace() -> None:
    small = replace(SMALL, start=(Op("take", {"who": "C", "n": 2}),))
    found = exploration(plenty, plenty_too, small=small)
    assert found.states == 6
    assert all(trace.ops[0].args["who"] == "C" for trace in found.reached.values())


def test_a_world_that_ends_at_once_is_a_fault() -> None:
    small = replace(SMALL, start=(Op("grow", {"n": 9}),))
    found = exploration(plenty, plenty_too, small=small)
    assert found.findings.fault is not None
    assert "cannot go on after its first operations" in found.findings.fault[1]


def test_a_divergence_deep_in_a_world_ends_the_run_there() -> None:
    """Expanding stops within a job, and later jobs are not looked at."""
    found = exploration(plenty, greedy, small=replace(SMALL, ops=(*GIVES, *TAKES)))
    assert found.findings.divergence is not None
    assert found.expanded < found.states


def test_operations_that_end_the_system_are_counted_apart() -> None:
    small = replace(SMALL, ops=(Op("grow", {"n": 2}),), world={"pages": 8})
    found = exploration(plenty, plenty_too, small=small)
    assert (found.states, found.ends) == (3, 1)
    assert found.fixpoint


def test_keys_that_are_not_plain_are_told_apart_too() -> None:
    class Rich(Toy):
        def state_key(self) -> Hashable:
            return frozenset({self.digest("state")})

    assert exploration(plenty, plenty_too, kind=Rich).states == STATES


def test_a_run_that_is_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.json"
    whole = exploration(plenty, plenty_too)

    def save(found: Exploration) -> None:
        save_checkpoint(path, found, "state", (0, 1))

    stopped = exploration(plenty, plenty_too, stop=lambda: True, on_level=save)
    assert stopped.interrupted
    assert stopped.states < whole.states
    again = Exploration(SMALL)
    load_checkpoint(path, again, "state", (0, 1))
    exploration(plenty, plenty_too, found=again, on_level=save)
    assert again.fixpoint
    assert list(again.tokens) == list(whole.tokens)
    assert again.transitions == whole.transitions
    assert again.levels == whole.levels
    assert again.reached == whole.reached
    assert again.findings.before.rows == whole.findings.before.rows
    done = Exploration(SMALL)
    load_checkpoint(path, done, "state", (0, 1))
    exploration(plenty, plenty_too, found=done)
    assert done.transitions == whole.transitions


def test_a_checkpoint_of_other_code_is_not_gone_on_with() -> None:
    class Changed(Toy):
        def state_key(self) -> Hashable:
            return "changed", self.digest("state")

    found = exploration(plenty, plenty_too)
    with pytest.raises(StaleError, match="the code has changed"):
        exploration(plenty, plenty_too, kind=Changed, found=found)


def test_nothing_is_written_without_a_path() -> None:
    save_checkpoint(None, Exploration(SMALL), "state", (0, 1))


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    found = exploration(plenty, plenty_too)
    save_checkpoint(path, found, "state", (0, 1))
    text = path.read_text()

    def refused(match: str, content: str | None = None, steps: tuple[int, int] = (0, 1)) -> None:
        path.write_text(text if content is None else content)
        with pytest.raises(CheckpointError, match=match):
            load_checkpoint(path, Exploration(SMALL), "state", steps)

    refused("of another pair", steps=(0, 2))
    refused("remove it to start anew", content="{")
    refused("must come before", content=text.replace('"parents":[0,0', '"parents":[0,9'))
    refused("beyond the list", content=text.replace('"by":[0,0', '"by":[0,90'))
    refused("same length", content=text.replace('"by":[0,', '"by":[0,0,'))
    refused("more states", content=text.replace('"expanded":15', '"expanded":16'))
    refused("first line is", content=text.replace("equivcheck-trace/1 toy", "x"))
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path, Exploration(SMALL), "state", (0, 1))
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "c.json", found, "state", (0, 1))


def test_large_checkpoints_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    path.write_text("{}")
    monkeypatch.setattr("equivalence.checkpoint.MAX_BYTES", 1)
    with pytest.raises(CheckpointError, match="larger than"):
        load_checkpoint(path, Exploration(SMALL), "state", (0, 1))


# More than the rule of the toy can ever be asked in SMALL.
WIDE = SmallWorld(
    "wide",
    "all that the predicate's domain asks for",
    {"pages": 4},
    (*(Op("take", {"who": "A", "n": n}) for n in range(5)), Op("give", {"who": "A"})),
)


def config(**more: Any) -> Config:
    return Config(ops=500, against="base", **more)


def test_the_gate_says_exhausted_of_what_was_explored_whole(tmp_path: Path) -> None:
    told: list[Event] = []
    options = config(worlds=(WIDE,), checkpoints=tmp_path)
    result = gate.run(options, ToySubject(), ToyTier(plenty, plenty_too), told.append)
    pair = result.pairs[-1]
    assert pair.verdict is Verdict.EXHAUSTED
    assert pair.rung == "predicates equal on every input"
    assert (pair.states, pair.ops) == (6, 36)
    assert pair.reason == "world wide: its fixpoint"
    rows = pair.evidence.predicates[0].rows
    assert all(row.reached_by is not None for row in rows)
    progress = [event.exploring for event in told if isinstance(event, ExploreProgress)]
    assert progress[-1].states == 6
    assert progress[-1].frontier == 0
    again = gate.run(options, ToySubject(), ToyTier(plenty, plenty_too))
    assert again.pairs[-1].ops == 36


def test_the_gate_makes_what_was_found_a_counterexample() -> None:
    result = gate.run(config(worlds=(WIDE, SMALL)), ToySubject(), ToyTier(plenty, greedy))
    pair = result.pairs[-1]
    assert pair.verdict is Verdict.DIVERGED
    assert pair.counterexample is not None
    # In a world of two pages, as shrinking may change the world too.
    assert pair.counterexample.ops == 1


def test_worlds_that_are_too_roomy_do_not_earn_a_verdict() -> None:
    roomy = SmallWorld("roomy", "nothing is ever refused", {"pages": 8}, WIDE.ops[:2])
    result = gate.run(
        config(worlds=(roomy,), bounds=Bounds(depth=2)), ToySubject(), ToyTier(plenty, plenty_too)
    )
    pair = result.pairs[-1]
    assert pair.verdict is Verdict.INADEQUATE
    assert "goal 'refused' was not reached" in pair.reason
    assert "were not reached" in pair.reason


def test_an_exploration_that_is_cut_short_does_not_earn_a_verdict() -> None:
    result = gate.run(
        config(worlds=(WIDE, SMALL), time_limit_s=0.0), ToySubject(), ToyTier(plenty, plenty_too)
    )
    assert result.pairs[-1].verdict is Verdict.INADEQUATE
    assert "the time limit was reached" in result.pairs[-1].reason
