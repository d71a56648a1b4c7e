import subprocess
import sys
from random import Random

import pytest

from equivalence import sampler
from equivalence.driver import Lockstep
from equivalence.oracle import oracle_for
from equivalence.sampler import draw_length, mutate, sample
from equivalence.search import Findings, Session
from equivalence.subject import OpSpec
from models.schema.trace import Op, Trace
from tests.toy import OPS, Rule, Toy, ToySubject, greedy, plenty


def search(
    seed: int, budget: int, after: Rule = plenty, corpus: tuple[Trace, ...] = ()
) -> Findings:
    subject = ToySubject()
    before, other = Toy(plenty), Toy(after)
    oracle = oracle_for(before, other, "state", subject.user_sections)
    session = Session(subject, Lockstep(before, other, oracle))
    sample(session, subject.generator(), Random(seed), budget, corpus)
    return session.close()


def test_the_budget_is_spent_exactly() -> None:
    found = search(1, 3000)
    assert found.ops == 3000
    assert found.traces > 30
    assert not found.over


def test_a_seed_gives_the_same_search_and_another_seed_another_one() -> None:
    assert search(7, 2000) == search(7, 2000)
    assert search(7, 2000) != search(8, 2000)


def test_the_hash_seed_does_not_matter() -> None:
    """Exact numbers would do as well, but would have to be edited with the toy."""
    code = (
        "from tests.equivalence.test_sampler import search\n"
        "found = search(7, 2000)\n"
        "print(found.ops, found.traces, sorted(found.outcomes.items()), sorted(found.states))\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(texts) == 1
    assert texts.pop().startswith("2000 ")


def test_a_planted_bug_is_found() -> None:
    found = search(1, 5000, greedy)
    assert found.divergence is not None
    trace, divergence = found.divergence
    assert divergence.op.kind == "take"
    assert len(trace.ops) == divergence.op_index + 1
    assert found.ops < 5000


def test_given_traces_are_varied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that never takes finds the bug only by varying a trace that does."""
    monkeypatch.setattr(sampler, "MAX_CORPUS", 1)
    seed = Trace("toy", {"pages": 2}, (Op("take", {"who": "A", "n": 2}), Op("give", {"who": "A"})))

    class Shy(ToySubject):
        def generator(self) -> "ShyGenerator":
            return ShyGenerator()

    subject = Shy()
    for corpus, expected in (((), False), ((seed,), True)):
        pair = Lockstep(
            Toy(plenty),
            Toy(greedy),
            oracle_for(Toy(plenty), Toy(greedy), "state", subject.user_sections),
        )
        session = Session(subject, pair)
        sample(session, subject.generator(), Random(3), 20_000, corpus)
        assert (session.findings.divergence is not None) == expected


class ShyGenerator:
    def world(self, rng: Random) -> dict[str, int | str]:
        return {"pages": 2}

    def start(self, world: object) -> None:
        pass

    def op(self, rng: Random, kind: str | None = None) -> Op:
        return Op("grow", {"n": 0})

    def saw(self, op: Op, outcome: object) -> None:
        pass


def test_traces_of_one_length_class_stay_in_it() -> None:
    rng = Random(0)
    lengths = [draw_length(rng) for _ in range(5000)]
    assert min(lengths) >= 10
    assert max(lengths) < 300
    assert sum(length < 40 for length in lengths) > 2500
    assert sum(length >= 80 for length in lengths) in range(150, 400)


def test_what_a_divergence_at_boot_or_a_stop_ends() -> None:
    class Bad(ShyGenerator):
        def world(self, rng: Random) -> dict[str, int | str]:
            return {"pages": 99}

    subject = ToySubject()
    pair = Lockstep(
        Toy(plenty), Toy(plenty), oracle_for(Toy(plenty), Toy(plenty), "state", frozenset())
    )
    session = Session(subject, pair)
    sample(session, Bad(), Random(0), 100)
    assert session.findings.fault is not None
    assert session.findings.ops == 0

    session = Session(subject, pair, stop=lambda: session.findings.traces == 2)
    sample(session, subject.generator(), Random(0), 1000)
    assert session.findings.truncated
    assert session.findings.traces == 2


def test_new_traces_join_the_corpus_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "MAX_CORPUS", 0)
    assert search(1, 500).novel
    monkeypatch.undo()
    assert search(1, 500).novel


@pytest.mark.parametrize("seed", range(30))
def test_edits_keep_operations_legal(seed: int) -> None:
    rng = Random(seed)
    ops = [
        Op("take", {"who": "A", "n": 1}),
        Op("give", {"who": "A"}),
        Op("grow", {"n": 1}),
        Op("grow", {"n": 2}),
    ]
    edited = mutate(rng, list(ops), OPS)
    assert abs(len(edited) - len(ops)) <= sampler.MAX_EDITS
    for op in edited:
        ToySubject().check_op(op)


def test_every_kind_of_edit_happens() -> None:
    spec = OpSpec("op", {"a": (1, 2), "b": (1,)}, frozenset({"a"}), "op")
    specs = {"op": spec, "bare": OpSpec("bare", {}, frozenset(), "no arguments")}
    start = [Op("op", {"a": 1, "b": 1}), Op("bare")]
    seen = {"; ".join(map(str, mutate(Random(seed), list(start), specs))) for seed in range(300)}
    assert "bare" in seen, "an operation dropped"
    assert "bare; op a=1 b=1" in seen, "operations swapped"
    assert "op a=1 b=1; bare; bare" in seen, "an operation doubled"
    assert "op a=2 b=1; bare" in seen, "an argument changed"
    assert "op a=1; bare" in seen, "an optional argument dropped"
    assert "op a=1 b=1; bare" in seen, "an edit without effect"
    assert "" in seen, "everything dropped"
