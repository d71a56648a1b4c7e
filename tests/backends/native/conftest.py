"""Debian's kernel sources, unpacked once, and images built from them."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from equivalence.backends.native.build import NativeImage, build
from equivalence.backends.native.cache import cache_folder, publish_folder
from equivalence.backends.native.series import make_view
from equivalence.backends.native.system import Runner
from equivalence.backends.native.tree import KernelTree, open_tree
from tests.backends.native import recipes

#: What configuring and compiling for x86-64 never opens; leaving it out halves the time.
_LEFT_OUT = (
    "*/Documentation/*.rst",
    "*/drivers/*.[chS]",
    "*/sound/*.[ch]",
    "*/net/*.c",
    "*/tools/testing/*",
    "*/tools/perf/*",
    "*/samples/*.c",
    "*.dts*",
)


def unpack(version: str) -> KernelTree:
    """Debian's tree of a version, in the cache."""
    archive = Path(f"/usr/src/linux-source-{version}.tar.xz")
    found = archive.stat()

    def fill(folder: Path) -> None:
        excludes = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        subprocess.run(
            ["tar", "-xJf", str(archive), "--strip-components=1", "--wildcards", *excludes],
            cwd=folder,
            check=True,
        )

    name = f"linux-source-{version}-{found.st_size}-{found.st_mtime_ns}"
    return open_tree(publish_folder(cache_folder() / "sources" / name, fill))


@pytest.fixture(scope="session")
def tree() -> KernelTree:
    """6.12.117."""
    return unpack("6.12")


@pytest.fixture(scope="session")
def image(tree: KernelTree) -> NativeImage:
    """6.12.117, built."""
    return build(tree)


@pytest.fixture(scope="session")
def runner(image: NativeImage) -> Iterator[Runner]:
    """Workers of 6.12.117."""
    made = Runner(image)
    yield made
    made.close()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder outside of the test run's own, which the sandbox may bind."""
    folder = Path(tempfile.mkdtemp(prefix="equivcheck-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sources(tree: KernelTree) -> dict[str, str]:
    """The text of the files that recipes edit."""
    return {name: (tree.root / name).read_text() for name in (recipes.HUGETLB, recipes.INODE)}


@pytest.fixture
def edited(tree: KernelTree, scratch: Path) -> Callable[[Mapping[str, str | None]], KernelTree]:
    """Makes a tree that differs from 6.12.117 in the given files; those of None are deleted."""
    count = 0

    def make(files: Mapping[str, str | None]) -> KernelTree:
        nonlocal count
        count += 1
        held = scratch / f"files{count}"
        for name, text in files.items():
            (held / name).parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                (held / name).write_text(text)
        view = scratch / f"tree{count}"
        make_view(tree.root, view, {name: held / name for name in files})
        return open_tree(view, [tree.root, scratch])

    return make
