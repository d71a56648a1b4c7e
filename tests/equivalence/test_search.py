from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import pytest

from equivalence import search as module
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.search import Findings, Session, Side, defect_index, outcome_defects, replay
from equivalence.subject import Goal, Invariant, Observation, Relation
from models.schema.outcome import OK, Outcome
from models.schema.trace import Op, Trace
from tests.toy import Rule, Toy, ToySubject, greedy, plenty

TAKE = Op("take", {"who": "A", "n": 3})
ONE = Op("take", {"who": "A", "n": 1})
GROW = Op("grow", {"n": 2})
BURST = Op("grow", {"n": 20})


def lockstep(before: Toy, after: Toy, relation: Relation = "state") -> Lockstep:
    oracle = oracle_for(before, after, relation, ToySubject.user_sections)
    return Lockstep(before, after, oracle)


def toys(before: Rule = plenty, after: Rule = plenty, relation: Relation = "state") -> Lockstep:
    return lockstep(Toy(before), Toy(after), relation)


def trace(*ops: Op, pages: int = 2) -> Trace:
    return Trace("toy", {"pages": pages}, ops)


def found(pair: Lockstep, *traces: Trace) -> Findings:
    session = Session(ToySubject(), pair)
    replay(session, traces)
    return session.close()


def traces_of(findings: Findings) -> list[Trace]:
    """The traces that reached something new."""
    return [novel.trace for novel in findings.novel]


class Plain:
    """A system without evidence."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.sections = toy.sections

    def __getattr__(self, name: str) -> object:
        if name in ("coverable", "covered", "rows", "forget"):
            raise AttributeError(name)
        return getattr(self.toy, name)


def test_a_replay_counts_what_it_ran() -> None:
    result = found(toys(), trace(ONE, TAKE), trace(GROW, BURST, ONE))
    assert (result.ops, result.traces) == (4, 2)
    assert result.outcomes == Counter(
        {
            ("take", "returned"): 1,
            ("take", "ENOMEM"): 1,
            ("grow", "returned"): 1,
            ("grow", "bug"): 1,
        }
    )
    assert result.goals == {"refused", "anything"}
    assert len(result.states) == 1, "the trace that ended in a BUG has no last state"
    assert not result.over


def test_a_divergence_ends_the_search_with_its_trace() -> None:
    result = found(toys(plenty, greedy), trace(ONE, GROW, ONE, TAKE, ONE), trace(ONE))
    assert result.over
    assert result.divergence is not None
    shown, divergence = result.divergence
    assert shown == trace(ONE, GROW, ONE, TAKE)
    assert divergence.op_index == 3
    assert result.traces == 1


def test_a_divergence_at_boot_ends_the_search() -> None:
    class Generous(Toy):
        def observe(self) -> Mapping[str, object]:
            return {"pool": {"free": self.free + 1}}

        def digest(self, relation: Relation) -> Hashable:
            return self.free + 1

    result = found(lockstep(Toy(plenty), Generous(plenty)), trace(ONE))
    assert result.divergence is not None
    assert result.divergence[0] == trace()
    assert result.divergence[1].op_index == -1


def test_what_a_system_raises_and_a_world_that_cannot_boot_are_faults() -> None:
    class Raising(Toy):
        def op_give(self, who: str) -> Outcome:
            raise KeyError(who)

    give = Op("give", {"who": "A"})
    result = found(lockstep(Raising(plenty), Toy(plenty)), trace(ONE, give, ONE))
    assert result.fault == (
        trace(ONE, give),
        "the system before the patch raised KeyError: 'A', in op 1 (give who=A)",
    )
    result = found(toys(), trace(ONE, pages=99))
    assert result.fault == (trace(pages=99), "pages is 99, expected 0 to 8")


def test_thorough_traces_audit_digests() -> None:
    class Blind(Toy):
        def digest(self, relation: Relation) -> Hashable:
            return self.free

        def op_take(self, who: str, n: int) -> Outcome:
            outcome = super().op_take(who, n)
            if self.rule is greedy:
                self.held.clear()
            return outcome

    pair = lockstep(Blind(plenty), Blind(greedy))
    assert found(pair, trace(ONE)).fault == (
        trace(ONE),
        "digests agree, but holders.A differs after op 0",
    )
    session = Session(ToySubject(), pair)
    assert session.begin({"pages": 2}, thorough=False)
    assert session.step(ONE)
    assert not session.findings.over


def test_some_traces_are_thorough_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    audit = Lockstep.audit

    def counting(self: Lockstep) -> Observation:
        calls.append(session.findings.traces)
        return audit(self)

    monkeypatch.setattr(Lockstep, "audit", counting)
    monkeypatch.setattr(module, "THOROUGH_EVERY", 16)
    session = Session(ToySubject(), toys())
    for _ in range(34):
        session.begin({"pages": 2})
        session.step(ONE)
        session.end()
    assert calls == [1, 17, 33]


def test_defects_are_told_once_with_the_trace_that_shows_them() -> None:
    warn = Op("grow", {"n": 2})
    result = found(
        toys(greedy, greedy),
        trace(TAKE, ONE),
        trace(TAKE),
        trace(warn, BURST, pages=8),
        trace(warn),
    )
    debt = trace(TAKE)
    assert result.defects["no-debt"] == ("-1 pages free", debt)
    assert result.defects["bug: pool overflow"][1].ops == (warn, BURST)
    many = found(toys(), trace(*[Op("grow", {"n": 2})] * 5))
    assert many.defects["warning: pool is large"] == (
        "pool is large",
        trace(*[Op("grow", {"n": 2})] * 5),
    )


def test_known_defects_are_not_told() -> None:
    session = Session(ToySubject(), toys(greedy, greedy), known=["no-debt"])
    replay(session, [trace(TAKE)])
    assert session.close().defects == {}


def test_defects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DEFECTS", 1)
    result = found(toys(greedy, greedy), trace(TAKE), trace(BURST))
    assert list(result.defects) == ["no-debt"]


def test_running_into_what_is_not_modelled_is_no_defect() -> None:
    assert list(outcome_defects(Outcome(ending="unmodelled", detail="swap"))) == []
    assert list(outcome_defects(OK._replace(warnings=("a",)))) == [("warning: a", "a")]
    hang = Outcome(ending="hang", detail="in region_chg()")
    assert list(outcome_defects(hang)) == [("hang", "in region_chg()")]
    crash = Outcome(ending="crash", detail="NULL")
    assert list(outcome_defects(crash)) == [("crash: NULL", "NULL")]


def test_under_relation_user_invariants_are_checked_on_the_other_side_too() -> None:
    """The digests agree on what user space sees; one side's invariant is about what it cannot."""

    class Shady(Toy):
        def op_take(self, who: str, n: int) -> Outcome:
            self.held["nobody"] = 0
            return super().op_take(who, n)

    class Subject(ToySubject):
        invariants: Sequence[Invariant] = (
            Invariant(
                "owned",
                "all pages have an owner",
                lambda seen: "owned by nobody" if "nobody" in seen["holders"] else None,
            ),
        )

    session = Session(Subject(), lockstep(Toy(plenty), Shady(plenty), "user"))
    replay(session, [trace(ONE)])
    assert session.close().defects == {"owned": ("owned by nobody", trace(ONE))}


def test_defect_index_names_the_operation_that_shows_it_first() -> None:
    subject = ToySubject()
    toy = Toy(greedy)
    assert defect_index(toy, trace(ONE, GROW, ONE), "no-debt", subject) is None
    assert defect_index(toy, trace(GROW, ONE, TAKE, pages=1), "no-debt", subject) == 2
    assert defect_index(toy, trace(BURST), "bug: pool overflow", subject) == 0
    assert defect_index(toy, trace(BURST, TAKE), "no-debt", subject) is None

    class Indebted(ToySubject):
        invariants: Sequence[Invariant] = (Invariant("always", "never holds", lambda seen: "no"),)

    assert defect_index(toy, trace(), "always", Indebted()) == -1


def test_goals_are_asked_until_reached() -> None:
    asked: list[str] = []

    def given(op: Op, outcome: Outcome) -> bool:
        asked.append(op.kind)
        return outcome == OK

    class Subject(ToySubject):
        goals: Sequence[Goal] = (
            Goal("given", "something is given back", given, "give"),
            Goal("twice", "never", lambda op, outcome: False, "give"),
        )

    session = Session(Subject(), toys())
    give = Op("give", {"who": "A"})
    replay(session, [trace(give, ONE, give, give), trace(ONE, give)])
    assert session.close().goals == {"given"}
    assert asked == ["give", "give"]


def test_a_stop_truncates_before_the_next_trace() -> None:
    calls = iter([False, True])
    session = Session(ToySubject(), toys(), stop=lambda: next(calls))
    replay(session, [trace(ONE), trace(ONE), trace(ONE)])
    result = session.close()
    assert result.truncated
    assert result.traces == 1


def test_traces_that_reach_new_code_or_inputs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = [trace(ONE), trace(ONE), trace(ONE, ONE), trace(ONE), trace(TAKE)]
    result = found(toys(), *traces)
    assert traces_of(result) == [trace(ONE), trace(ONE, ONE), trace(TAKE)]
    assert result.before.covered == result.after.covered == {"rule": {"true", "false"}}
    assert result.before.rows["enough"] == Counter({(2, 1): 4, (1, 1): 1, (2, 3): 1})

    seen = found(toys(), trace(ONE)).before.points()
    assert seen == {"rule": {"true"}, "predicate enough": {"(2, 1)"}}
    session = Session(ToySubject(), toys(), seen=(seen, seen))
    replay(session, [trace(ONE), trace(TAKE)])
    assert traces_of(session.close()) == [trace(TAKE)]
    assert seen["rule"] == {"true"}

    monkeypatch.setattr(module, "MAX_NOVEL", 1)
    assert traces_of(found(toys(), *traces)) == [trace(ONE)]


def test_a_new_line_is_new_although_no_input_is() -> None:
    class Extra(Toy):
        def op_grow(self, n: int) -> Outcome:
            self._seen.add("grown")
            return super().op_grow(n)

    result = found(lockstep(Extra(plenty), Extra(plenty)), trace(ONE), trace(ONE, GROW))
    assert [(novel.trace, novel.functions) for novel in result.novel] == [
        (trace(ONE), frozenset({"rule", "predicate enough"})),
        (trace(ONE, GROW), frozenset({"rule"})),
    ]


def test_systems_without_evidence_are_searched_all_the_same() -> None:
    result = found(lockstep(Plain(Toy(plenty)), Toy(plenty)), trace(ONE))  # type: ignore[arg-type]
    assert result.before.covered == {}
    assert result.after.covered == {"rule": {"true"}}
    assert traces_of(result) == [trace(ONE)]


def test_states_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STATES", 1)
    one = found(toys(), trace(ONE), trace(GROW))
    assert len(one.states) == 1
    other = Findings(states={1, 2})
    one.add(other)
    assert len(one.states) == 1


def test_findings_add_up_and_the_first_of_each_kind_stays() -> None:
    one = found(toys(plenty, greedy), trace(ONE), trace(GROW, ONE, TAKE, pages=1))
    total = Findings()
    total.add(Findings(defects={"a": ("first", trace())}, truncated=True))
    total.add(Findings(defects={"a": ("second", trace(ONE)), "b": ("b", trace())}, goals={"g"}))
    total.add(one)
    total.add(found(toys(plenty, greedy), trace(TAKE)))
    total.add(Findings(fault=(trace(), "fault")))
    assert total.ops == one.ops + 1
    assert total.traces == one.traces + 1
    assert total.divergence == one.divergence
    assert total.defects["a"] == ("first", trace())
    assert {"a", "b"} <= total.defects.keys()
    assert total.fault == (trace(), "fault")
    assert total.truncated
    assert "g" in total.goals
    assert total.outcomes.total() == total.ops
    side = Side()
    side.add(Side({"f": frozenset({"1"})}, {"p": Counter({(1,): 2})}))
    side.add(Side({"f": frozenset({"2"})}, {"p": Counter({(1,): 1})}))
    assert side == Side({"f": frozenset({"1", "2"})}, {"p": Counter({(1,): 3})})
