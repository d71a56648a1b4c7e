"""Another kernel from the same shim."""

import pytest

from equivalence.backends.native.build import build
from equivalence.backends.native.lockstep import compare
from equivalence.backends.native.system import Runner
from tests.backends.native.conftest import unpack
from tests.backends.native.generated import traces

pytestmark = [
    pytest.mark.needs_kernel_source("6.1"),
    pytest.mark.needs_kernel_source("6.12"),
    pytest.mark.needs_toolchain,
]


def test_6_1_runs_and_differs_from_6_12(runner: Runner) -> None:
    """It agrees with itself, and its known differences are found."""
    old, again = Runner(build(unpack("6.1"))), Runner(build(unpack("6.1")))
    try:
        drawn = traces(20, 200)
        assert compare(old, again, drawn, seconds=0.5) == []
        user = frozenset({"counters", "nodes"})
        found = compare(old, runner, drawn, sections=user, seconds=0.5)
        assert found
    finally:
        old.close()
        again.close()
