"""What a real 6.12.117 said, against the same C in user space."""

import io
import tarfile
from importlib.resources import files
from pathlib import Path

import pytest

from equivalence.backends.native.replayer import NativeReplayer
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.native.tree import KernelTree
from equivalence.subjects.hugetlb.calibration import calibrate
from equivalence.subjects.hugetlb.corpus import OF_THE_FORMAT, corpus
from tests.backends.native.test_cli import equivcheck

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


def test_extensions_agree_as_far_as_the_tier_has_them(runner: Runner) -> None:
    """Userfaultfd and pins too; not cpusets and memory errors, which it lacks."""
    system = NativeSystem(runner.image, runner=runner)
    recordings = [
        recording
        for recording in corpus(["extensions.tar.xz"])
        if not any(system.lacks(op) for op in recording.trace().ops)
    ]
    result = calibrate(recordings, NativeReplayer(system))
    assert result.agrees, result.first()
    kinds = {op for _, op in result.table()}
    assert {"pin", "uffd_copy", "uffd_continue", "uffd_register"} <= kinds


def test_recordings_that_need_what_it_lacks_are_named(tree: KernelTree, tmp_path: Path) -> None:
    archive = files("equivalence.subjects.hugetlb.corpus") / "extensions.tar.xz"
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
        for name in ("e01_uffd_copy_private", "e10_cpuset_mems"):
            tar.extract(f"{name}.jsonl", tmp_path, filter="data")
    done = equivcheck("calibrate", "--native", "--tree", tree.root, ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out: e10_cpuset_mems: the tier native lacks cgroup_mems" in done.stdout
    assert "1 of 1 recordings agree" in done.stdout
