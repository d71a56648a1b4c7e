"""`make bench` measures what it says: a planted cost is found by the check that is for it."""

import time
from collections.abc import Hashable
from random import Random

import pytest

from benchmarks import checks, where
from benchmarks.__main__ import main
from benchmarks.measure import Check, Speed, cpu_s, paired_s, resident_bytes
from benchmarks.traces import drawn, long_trace
from equivalence.cli.choose import Chosen
from equivalence.subject import Relation
from models.schema.outcome import OK, Outcome
from models.schema.trace import Args, Op
from tests.toy import Toy, ToyGenerator, ToySubject, ToyTier, plenty, plenty_too


def burn(seconds: float) -> None:
    """Use the processor; sleeping would not count."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class SlowOps(Toy):
    """Every operation takes a while, so that all else is cheap beside it; none is fatal."""

    def apply(self, op: Op) -> Outcome:
        burn(0.0002)
        return super().apply(op)

    def op_grow(self, n: int) -> Outcome:
        return OK


class SlowDigest(SlowOps):
    """Looking at the state costs as much as three operations."""

    def digest(self, relation: Relation) -> Hashable:
        burn(0.0006)
        return super().digest(relation)


class Ageing(SlowOps):
    """Operations take longer and longer, and memory is never given back."""

    kept: list[bytes] = []  # noqa: RUF012 -- what leaks is the class's

    def boot(self, world: Args) -> None:
        self.age = 0
        super().boot(world)

    def apply(self, op: Op) -> Outcome:
        self.age += 1
        Ageing.kept.append(b"x" * 65536)
        burn(0.000004 * self.age + 0.0000002 * len(Ageing.kept))
        return super().apply(op)


def tier(system: type[Toy] = SlowOps) -> ToyTier:
    return ToyTier(plenty, plenty_too, system=system)


def test_comparison() -> None:
    assert checks.comparison(ToySubject(), tier(), 150, 2).holds
    slow = checks.comparison(ToySubject(), tier(SlowDigest), 100, 2)
    assert not slow.holds
    assert slow.ratio > 2


def test_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.sampler(ToySubject(), tier(), 150, 2).holds
    draw = ToyGenerator.op

    def slow(self: ToyGenerator, rng: Random, kind: str | None = None) -> Op:
        burn(0.001)
        return draw(self, rng, kind)

    monkeypatch.setattr(ToyGenerator, "op", slow)
    assert not checks.sampler(ToySubject(), tier(), 100, 2).holds


def test_growth_in_a_trace() -> None:
    assert checks.growth_in_trace(ToySubject(), tier(), 300, 2).ratio < 1.5
    assert not checks.growth_in_trace(ToySubject(), tier(Ageing), 300, 2).holds


def test_growth_in_a_run() -> None:
    cost, memory = checks.growth_in_run(ToySubject(), tier(), 800, 4)
    assert cost.ratio < 2
    assert memory.holds
    Ageing.kept.clear()
    cost, memory = checks.growth_in_run(ToySubject(), tier(Ageing), 800, 4)
    assert not cost.holds
    assert not memory.holds
    Ageing.kept.clear()


def test_traces_have_the_length_that_was_asked_for() -> None:
    system = Toy(plenty)
    traces = drawn(ToySubject(), system, 300)
    assert sum(len(trace.ops) for trace in traces) == 300 or traces[-1].ops
    assert drawn(ToySubject(), system, 300) == traces
    assert len(long_trace(ToySubject(), system, 200, Random(3)).ops) == 200


def test_where_the_time_goes() -> None:
    shares = where.shares(lambda: burn(0.1))
    assert shares == {"other": 1.0}
    (machine, search), (sampler, sample) = where.searches(ToySubject(), tier(Toy), 500)
    assert (machine, sampler) == ("machine", "sampler")
    assert where.shares(search)["Hypothesis"] > 0.3
    assert "Hypothesis" not in where.shares(sample) or where.shares(sample)["Hypothesis"] < 0.3


def test_measures() -> None:
    assert 0.04 < cpu_s(lambda: burn(0.05)) < 0.5
    one, other, ratio = paired_s(lambda: burn(0.02), lambda: burn(0.01), 3)
    assert one > other
    assert 1.2 < ratio < 4
    assert resident_bytes() > 1_000_000
    assert Speed("x", 10, 2.0).ops_per_s == 5
    assert Check("x", 1.0, 1.0, "").holds
    assert not Check("x", 1.1, 1.0, "").holds


@pytest.mark.parametrize(("limit", "status"), [(100.0, 0), (0.0, 1)])
def test_the_program(
    limit: float,
    status: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("COMPARISON_LIMIT", "SAMPLER_LIMIT", "GROWTH_LIMIT", "MEMORY_LIMIT"):
        monkeypatch.setattr(checks, name, limit)
    chosen = Chosen(ToySubject(), tier(Toy), "")
    assert main(["--ops", "100", "--rounds", "2"], lambda name: chosen) == status
    out = capsys.readouterr().out
    assert ("OVER THE LIMIT" in out) == bool(status)
    assert out.count("where the time goes") == 2


@pytest.mark.parametrize("arguments", [["--ops", "1"], ["--rounds", "0"], ["--series", "nope"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
