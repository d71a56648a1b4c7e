"""A trace as a test for pytest that replays it on the ports."""

from __future__ import annotations

import re
from typing import Final

from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import PortTier
from equivalence.jobs import Stop, Worker
from equivalence.subjects.hugetlb.calibration import PortReplayer
from equivalence.subjects.hugetlb.repro.announce import Side, announce
from models.schema.divergence import Divergence
from models.schema.outcome import Outcome
from models.schema.trace import Trace, format_trace, parse_trace

_PAIR: Final = '''\
"""{about}

Fails as long as steps {before} and {after} of the series differ on this trace.
Run it with pytest where equivcheck is installed.
"""

from equivalence.cli.choose import load_series, port_tier
from equivalence.subjects.hugetlb.repro.python_test import diverges

TRACE = """\\
{trace}"""


def test_{name}() -> None:
    divergence = diverges(port_tier(load_series("{series}")), {before}, {after}, TRACE)
    assert divergence is None, divergence.first
'''

_ONE: Final = '''\
"""{about}

Fails where the port of 6.12.117 does not return what the C did before the series.
Run it with pytest where equivcheck is installed.
"""

from equivalence.cli.choose import load_series, port_tier
from equivalence.subjects.hugetlb.repro.python_test import results

TRACE = """\\
{trace}"""

RESULTS = [
{results}]


def test_{name}() -> None:
    tier = port_tier(load_series("{series}"))
    assert results(tier, len(tier.patches), TRACE) == RESULTS
'''


def pair_test(trace: Trace, name: str, about: str, series: str, steps: tuple[int, int]) -> str:
    """A test that two steps of a series on the ports agree on a trace."""
    return _PAIR.format(
        about=_plain(about),
        name=_identifier(name),
        trace=format_trace(trace),
        series=series,
        before=steps[0],
        after=steps[1],
    )


def port_test(trace: Trace, name: str, about: str, series: str, before: Side) -> str:
    """A test that the last step of a series on the ports returns what ``before`` did."""
    lines = "".join(f"    {text!r},\n" for text in map(result_text, before.outcomes))
    return _ONE.format(
        about=_plain(about),
        name=_identifier(name),
        trace=format_trace(trace),
        series=series,
        results=lines,
    )


def diverges(tier: PortTier, before: int, after: int, trace: str) -> Divergence | None:
    """Run a trace on two steps in lockstep; the first divergence.

    Raises:
        FaultError: equivcheck failed.
        TraceError: the text is no trace.
        WorldError: its world cannot boot.
    """
    from equivalence.subjects.hugetlb.subject import HugetlbSubject

    lockstep = Worker(HugetlbSubject(), tier, "state", Stop()).lockstep(before, after)
    return lockstep.run(parse_trace(trace))


def results(tier: PortTier, step: int, trace: str) -> list[str]:
    """What each operation of a trace returns on one step.

    Raises:
        TraceError: the text is no trace.
        WorldError: its world cannot boot.
    """
    system = tier.system(step, evidence=False)
    assert isinstance(system, PortSystem)
    side = announce(PortReplayer(system), parse_trace(trace))
    return [result_text(outcome) for outcome in side.outcomes]


def result_text(outcome: Outcome) -> str:
    """An outcome in a few words: how it ended, what it returned, the word that a touch saw."""
    if outcome.ending != "returned":
        return outcome.ending
    text = outcome.signal or outcome.errno or str(outcome.ret)
    return text if outcome.value is None else f"{text} value {outcome.value}"


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _plain(text: str) -> str:
    """Text that can stand in a docstring, whatever it was."""
    return re.sub(r'[^ -~]|["\\]', "_", text)
