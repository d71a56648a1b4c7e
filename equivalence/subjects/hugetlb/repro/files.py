"""The reproducers of one trace on one pair of steps, by file name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from equivalence.backends.port import PortSystem
from equivalence.subject import PairText, System
from equivalence.subjects.hugetlb.calibration import PortReplayer
from equivalence.subjects.hugetlb.repro.announce import Readable, announce
from equivalence.subjects.hugetlb.repro.program import Program, make_program
from equivalence.subjects.hugetlb.repro.python_test import pair_test, port_test
from models.schema.trace import Trace

#: The built-in series whose last step is the port of the recorded kernel.
RECORDED: Final = "stable-6.12.y"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A C program and the text of a test, both of one trace."""

    name: str
    program: Program
    test: str

    def files(self) -> Mapping[str, str]:
        """Both, by file name."""
        return {f"{self.name}.c": self.program.text, f"test_{_identifier(self.name)}.py": self.test}


def reproduce(
    trace: Trace, systems: tuple[System, System], told: PairText, name: str
) -> Reproduction:
    """Run a trace on each side alone and write what they announce.

    The test replays the trace on the pair itself if that is made of ports, and else on the port of
    6.12.117.
    """
    sides = tuple(announce(_readable(system), trace) for system in systems)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    program = make_program(trace, sides[0], sides[1], told.names, told.about)
    ports = isinstance(systems[0], PortSystem)
    if ports:
        test = pair_test(trace, name, told.about, told.series, told.steps)
    else:
        test = port_test(trace, name, told.about, RECORDED, sides[0])
    return Reproduction(name, program, test)


def _readable(system: System) -> Readable:
    if isinstance(system, PortSystem):
        return PortReplayer(system)
    from equivalence.backends.native.replayer import NativeReplayer
    from equivalence.backends.native.system import NativeSystem

    assert isinstance(system, NativeSystem), "there are two tiers"
    return NativeReplayer(system)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)
