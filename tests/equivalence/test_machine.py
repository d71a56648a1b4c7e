from importlib import import_module
from pathlib import Path
from random import Random

import pytest
from hypothesis.configuration import storage_directory
from hypothesis.errors import Flaky
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, CONSTANTS_CACHE

from equivalence import machine
from equivalence.driver import Lockstep
from equivalence.machine import search
from equivalence.oracle import oracle_for
from equivalence.search import Findings, Session
from equivalence.subject import Generator
from models.schema.outcome import Outcome
from models.schema.trace import Op
from tests.toy import Rule, Toy, ToyGenerator, ToySubject, greedy, plenty


def session(after: Rule = plenty) -> Session:
    subject = ToySubject()
    before, other = Toy(plenty), Toy(after)
    oracle = oracle_for(before, other, "state", subject.user_sections)
    return Session(subject, Lockstep(before, other, oracle))


def run(
    seed: int,
    budget: int,
    after: Rule = plenty,
    generator: Generator | None = None,
    cache: Path | None = None,
) -> Findings:
    one = session(after)
    search(one, generator or ToyGenerator(), seed, budget, cache, cache is not None)
    return one.close()


def test_the_budget_is_spent_and_hardly_more() -> None:
    found = run(1, 400)
    assert found.ops in range(400, 450)
    assert found.fault is None
    assert not found.over
    assert not found.truncated


def test_a_seed_gives_the_same_search_and_another_seed_another_one() -> None:
    assert run(1, 300) == run(1, 300)
    assert run(1, 300) != run(2, 300)


def test_what_else_is_loaded_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypothesis reads the numbers in modules that are not installed, and likes to choose them."""
    alone = [run(seed, 1000) for seed in range(8)]
    (tmp_path / "many_numbers.py").write_text(f"NUMBERS = {list(range(100, 255))}\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("many_numbers")
    CONSTANTS_CACHE.cache.clear()
    assert [run(seed, 1000) for seed in range(8)] == alone
    assert AVAILABLE_PROVIDERS["hypothesis"] is not machine._Provider, "for searches only"


def test_a_planted_bug_is_found_and_told_once() -> None:
    found = run(1, 4000, greedy)
    assert found.divergence is not None
    trace, divergence = found.divergence
    assert divergence.op_index == len(trace.ops) - 1
    assert found.fault is None


def test_hypothesis_replays_from_its_database(tmp_path: Path) -> None:
    first = run(1, 4000, greedy, cache=tmp_path)
    assert list(tmp_path.iterdir())
    again = run(2, 4000, greedy, cache=tmp_path)
    assert again.divergence is not None
    assert first.divergence is not None
    assert again.divergence[0] == first.divergence[0]
    assert again.traces <= 2 < first.traces, "the first trace that ran, and its repetition"


def test_hypothesis_writes_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = storage_directory().path
    monkeypatch.chdir(tmp_path)
    run(1, 100)
    assert list(tmp_path.iterdir()) == []
    assert storage_directory().path == home


def test_a_divergence_at_boot_is_found() -> None:
    class Unbootable(ToyGenerator):
        def world(self, rng: Random) -> dict[str, int | str]:
            return {"pages": 99}

    found = run(1, 100, generator=Unbootable())
    assert found.fault is not None
    assert found.fault[1] == "pages is 99, expected 0 to 8"


def test_a_stop_truncates() -> None:
    one = session()
    one.stop = lambda: one.findings.traces == 3
    search(one, ToyGenerator(), 1, 4000)
    assert one.findings.traces == 3
    assert one.findings.truncated


def test_a_trace_that_diverges_only_once_is_still_told() -> None:
    """The gate confirms it; Hypothesis's complaint adds nothing."""

    class Once(Toy):
        count = 0

        def op_take(self, who: str, n: int) -> Outcome:
            type(self).count += 1
            return Outcome(-1, "EIO") if self.count == 40 else super().op_take(who, n)

    subject = ToySubject()
    before, after = Toy(plenty), Once(plenty)
    pair = Lockstep(before, after, oracle_for(before, after, "state", subject.user_sections))
    one = Session(subject, pair)
    search(one, ToyGenerator(), 1, 4000)
    assert one.findings.divergence is not None
    assert one.findings.fault is None


def test_what_else_looks_flaky_to_hypothesis_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def flaky(*args: object, **kwargs: object) -> None:
        raise Flaky("drew something else")

    monkeypatch.setattr(machine, "run_state_machine_as_test", flaky)
    one = session()
    search(one, ToyGenerator(), 1, 100)
    assert one.findings.fault is not None
    assert one.findings.fault[1] == "the generator is flaky: drew something else"


def test_every_kind_of_operation_is_a_rule() -> None:
    kinds: set[str] = set()

    class Noting(ToyGenerator):
        def saw(self, op: Op, outcome: Outcome) -> None:
            kinds.add(op.kind)

    run(1, 400, generator=Noting())
    assert kinds == set(ToySubject.ops)
