"""What a real 6.12.117 said, against the same C in user space."""

import pytest

from equivalence.backends.native.replayer import NativeReplayer
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.subjects.hugetlb.calibration import calibrate
from equivalence.subjects.hugetlb.corpus import OF_THE_FORMAT, corpus

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]


def test_every_recording_agrees(runner: Runner) -> None:
    """All 425 traces: pools, nodes, mounts, files, pages, cgroups, results and tails."""
    recordings = corpus(OF_THE_FORMAT)
    result = calibrate(recordings, NativeReplayer(NativeSystem(runner.image, runner=runner)))
    assert result.agrees, result.first()
    assert len(recordings) == 425
    assert sum(cell.operations for cell in result.table().values()) > 15_000


def test_nothing_was_excluded(runner: Runner) -> None:
    """The tier runs every operation of the format that was recorded in the corpus."""
    system = NativeSystem(runner.image, runner=runner)
    recordings = corpus(OF_THE_FORMAT)
    assert not [op for recording in recordings for op in recording.trace().ops if system.lacks(op)]
