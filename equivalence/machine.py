"""The search by Hypothesis: a ``RuleBasedStateMachine`` with one rule for each kind of operation.

Hypothesis chooses which kinds of operations a trace has and in which order (it switches whole kinds
off for a while, which the sampler does not); the subject's generator draws the arguments from
words that Hypothesis chooses, so its database can replay a trace. It neither shrinks nor explains:
:mod:`equivalence.shrink` does, on traces.

Left alone, Hypothesis puts numbers that it reads in loaded modules into its choices; here it does
not, as what else is loaded must not change a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.errors import Flaky
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from equivalence.ahead import Drawer
from equivalence.search import Session
from equivalence.subject import Generator

#: Hypothesis's name for its own way to choose.
_BACKEND: Final = "hypothesis"
STEPS: Final = 50
_WORDS: Final = 64


class _Found(Exception):  # noqa: N818 -- no error: it tells Hypothesis to keep the trace
    """The session has a divergence or a fault."""


class _Ended(BaseException):
    """The budget is spent, or the run must end: nothing that Hypothesis may catch."""


class _Provider(HypothesisProvider):
    """Hypothesis's own choices without constants, which it takes from loaded modules."""

    def _maybe_draw_constant(self, *_: Any, **__: Any) -> None:
        return None


def search(
    session: Session,
    generator: Generator,
    run_seed: int,
    budget: int,
    cache: Path | None = None,
    remember: bool = False,
) -> None:
    """Let Hypothesis run traces until ``budget`` operations are spent or the search is over.

    ``cache`` is a folder beside the store for what Hypothesis likes to write (None: a temporary
    one); with ``remember`` it keeps there what failed, and begins with what is kept.
    """
    with _home(cache) as home, _own_choices():
        database = DirectoryBasedExampleDatabase(home / "examples") if remember else None
        _search(session, generator, run_seed, budget, database)


@contextmanager
def _home(cache: Path | None) -> Iterator[Path]:
    """Give Hypothesis a folder of ours; it would take the user's working directory."""
    before = storage_directory().path
    with TemporaryDirectory(prefix="equivcheck-") if cache is None else nullcontext(cache) as home:
        set_hypothesis_home_dir(home)
        try:
            yield Path(home)
        finally:
            set_hypothesis_home_dir(before)


@contextmanager
def _own_choices() -> Iterator[None]:
    before = AVAILABLE_PROVIDERS[_BACKEND]
    AVAILABLE_PROVIDERS[_BACKEND] = _Provider
    try:
        yield
    finally:
        AVAILABLE_PROVIDERS[_BACKEND] = before


def _search(
    session: Session,
    generator: Generator,
    run_seed: int,
    budget: int,
    database: ExampleDatabase | None,
) -> None:
    machine = seed(run_seed)(_machine(session, generator, budget))
    chosen = settings(
        max_examples=max(1, budget // STEPS * 2),
        stateful_step_count=STEPS,
        database=database,
        phases=(Phase.reuse, Phase.generate),
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except (_Found, _Ended):
        pass
    except Flaky as error:
        # To Hypothesis, a trace that ends the run looks flaky, and so does one that diverges only
        # once; the gate itself confirms what was found. Anything else is a generator that draws
        # differently from the same words.
        findings = session.findings
        if not (findings.over or findings.truncated or findings.ops >= budget):
            findings.fault = session.trace(), f"the generator is flaky: {error}"


def _machine(session: Session, generator: Generator, budget: int) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        """One trace."""

        def __init__(self) -> None:
            super().__init__()
            self.words = 0
            self.steps = 0
            self.begun = False
            self.going = True
            self.drawer = Drawer(session, generator)

        @initialize(one=st.integers(0, _WORDS - 1), two=st.integers(0, _WORDS - 1))
        def begin(self, one: int, two: int) -> None:
            # Once something is found, Hypothesis runs it again, whatever that costs.
            if not session.findings.over:
                spent = session.findings.ops >= budget
                if spent or session.stop():
                    session.findings.truncated |= not spent
                    raise _Ended
            self.words = one * _WORDS + two
            self.begun = True
            world = generator.world(Random(self.words))
            if not session.begin(world):
                raise _Found
            generator.start(world)

        def step(self, kind: str, word: int) -> None:
            if not self.going:
                return
            self.steps += 1
            rng = Random((self.words * 1000 + self.steps) * _WORDS + word)
            self.going = self.drawer.draw(rng, kind)
            if session.failed:
                raise _Found

        def teardown(self) -> None:
            if self.begun:
                failed = session.failed
                if self.going:
                    self.drawer.run()
                session.end()
                if session.failed and not failed:
                    raise _Found

    for kind in session.subject.ops:
        setattr(Machine, f"op_{kind}", _rule(kind))
    return Machine


def _rule(kind: str) -> Any:
    def run(self: Any, word: int) -> None:
        self.step(kind, word)

    run.__name__ = f"op_{kind}"
    decorate: Callable[[Any], Any] = rule(word=st.integers(0, _WORDS - 1))
    return decorate(run)
