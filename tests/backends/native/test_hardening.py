"""What is not right with the machine, the tree or the patches: one message, and nothing written."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from equivalence.backends.native.cache import cache_folder
from equivalence.backends.native.configure import TOOLS, check_tools
from equivalence.backends.native.definitions import definition_of
from equivalence.backends.native.errors import (
    CacheError,
    SeriesError,
    ToolMissingError,
    TreeError,
)
from equivalence.backends.native.series import make_steps, read_series
from equivalence.backends.native.tree import KernelTree, open_tree
from equivalence.cli.errors import InputError, MachineStop
from equivalence.cli.native import told
from tests.backends.native.recipes import Edit
from tests.backends.native.test_cli import PROGRAM, equivcheck, mbox, result_of
from tests.backends.native.test_series import SMALL, small_mail, small_tree

Maker = Callable[[dict[str, str]], KernelTree]
kernel = pytest.mark.needs_kernel_source("6.12")
tools = pytest.mark.needs_toolchain


def native(*words: object, cwd: Path, env: dict[str, str] | None = None, status: int = 2) -> str:
    """What a run that bad input ends says; its status is 2, and there is no traceback."""
    done = equivcheck("run", "--tier", "native", *words, cwd=cwd, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_text(small_mail())
    series = ("--series", "s.mbox")
    assert "--tree DIR" in native(*series, cwd=tmp_path)
    assert "either --series" in native("--tree", tree, cwd=tmp_path)
    both = ("--tree", tree, *series, "--range", "a..b")
    assert "either --series" in native(*both, cwd=tmp_path)
    assert "has no Makefile" in native("--tree", tmp_path, *series, cwd=tmp_path)
    assert "no such folder" in native("--tree", "nowhere", *series, cwd=tmp_path)
    assert "no such file" in native("--tree", tree, "--series", "none", cwd=tmp_path)
    assert "git repository" in native("--tree", tree, "--range", "a..b", cwd=tmp_path)
    assert "expected A..B" in native("--tree", tree, "--range", "--output=x", cwd=tmp_path)
    done = equivcheck("run", "--tree", tree, cwd=tmp_path)
    assert done.returncode == 2
    assert "for --tier native" in done.stderr


def test_programs_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All at once, with the command that installs them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        check_tools()
    said = str(caught.value)
    assert "gcc, ld, make, flex, bison, addr2line, objdump, nm, perl, bc are not installed" in said
    assert "apt-get install gcc binutils make flex bison perl bc" in said


@pytest.mark.parametrize("tool", ["flex", "git"])
def test_a_run_without_a_program(tool: str, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_text(small_mail())
    programs = tmp_path / "bin"
    programs.mkdir()
    needed = [*TOOLS, "git", "bwrap", "sh", "env"]
    for name in needed:
        found = shutil.which(name)
        if name != tool and found is not None:
            (programs / name).symlink_to(found)
    env = {"PATH": str(programs), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = native("--tree", tree, "--series", "s.mbox", cwd=tmp_path, env=env, status=4)
    assert f"{tool} is not installed" in said
    assert f"apt-get install {tool}" in said


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """The scratch folder has no room: nothing is said of the series."""
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_text(small_mail())
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        # two pages stay free, or another folder would be taken for scratch
        (small / "full").write_bytes(b"x" * (56 << 10))
        env = {"TMPDIR": str(small), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        said = native("--tree", tree, "--series", "s.mbox", cwd=tmp_path, env=env, status=4)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert "o space left" in said
    assert "nothing was checked" in said
    assert not (tmp_path / "equivcheck-report").exists()


@pytest.mark.parametrize(
    ("error", "stop", "said"),
    [
        (SeriesError("a b"), InputError, "a b"),
        (CacheError("a b"), MachineStop, "a b"),
        (OSError(errno.ENOSPC, "full", "/x"), MachineStop, "/x: full; nothing was checked"),
        (OSError(errno.ENOSPC, "full"), MachineStop, "XDG_CACHE_HOME.*: full"),
    ],
)
def test_what_stops_a_run(error: Exception, stop: type[Exception], said: str) -> None:
    """What was given is wrong, or the machine is: two exit statuses."""
    with pytest.raises(stop, match=said), told():
        raise error


def test_what_is_no_tree(tmp_path: Path) -> None:
    """Nothing is waited for, and nothing is opened that is no file."""
    os.mkfifo(tmp_path / "Makefile")
    with pytest.raises(TreeError, match="has no Makefile"):
        open_tree(tmp_path)
    tree = small_tree(tmp_path / "tree")
    (tree.root / "mm").mkdir(exist_ok=True)
    os.mkfifo(tree.root / "mm/Kconfig.pipe")
    os.mkfifo(tree.root / "mm/pipe.c")
    assert tree.configuration_key("")
    assert definition_of(tree.root, "nothing") is None
    assert definition_of(tree.root, "a") is not None
    (tmp_path / "home").mkdir()
    (tree.root / "tags").symlink_to(tmp_path / "home/tags")
    (tmp_path / "home/tags").write_text("")
    assert open_tree(tree.root).reads == (tmp_path / "home/tags",)


def test_a_patch_from_a_pipe(tmp_path: Path) -> None:
    """Standard input, and what a shell makes of a command, are read like a file."""
    tree = small_tree(tmp_path / "tree").root
    text = small_mail().replace("-\treturn 1", "-\treturn 7")
    for words, given in (
        (["--series", "-"], text),
        (["--series", "/dev/stdin"], text),
        (["--series", "-"], "junk"),
    ):
        done = subprocess.run(
            [*PROGRAM, "run", "--tier", "native", "--tree", str(tree), *words],
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert ("cannot be hosted" in done.stderr) == (given is text), done.stderr
        assert ("holds no patch" in done.stderr) == (given == "junk"), done.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that cannot be written")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_text(small_mail())
    env = {"XDG_CACHE_HOME": "/proc"}
    said = native("--tree", tree, "--series", "s.mbox", cwd=tmp_path, env=env, status=4)
    assert "XDG_CACHE_HOME" in said


def test_a_link_of_the_tree_is_not_followed_out_of_it(tmp_path: Path) -> None:
    """A patch to a file that is really elsewhere finds nothing to apply to."""
    outside = tmp_path / "outside.c"
    outside.write_text(SMALL["mm/a.c"])
    tree = small_tree(tmp_path / "tree")
    (tree.root / "mm/a.c").unlink()
    (tree.root / "mm/a.c").symlink_to(outside)
    steps = make_steps(tree, read_series("-", small_mail().encode()), tmp_path / "scratch")
    assert steps[1].tree is None
    assert "does not apply" in str(steps[1].obstacle)
    assert outside.read_text() == SMALL["mm/a.c"]


def test_what_a_killed_run_left_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A day later, since another run may still be at work."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native = tmp_path / "equivcheck/native"
    old, new = native / ".compiling-old", native / "configuration/.making-new"
    for folder in (old, new, native / "objects"):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    os.utime(native / "objects", (1, 1))
    assert cache_folder() == native
    assert (old.exists(), new.exists(), (native / "objects").exists()) == (False, True, True)


SECRET = "no_such_secret_word"


@kernel
@tools
def test_a_patch_cannot_read_or_write_elsewhere(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    """An include of a file outside of the tree does not compile, and its text is not shown."""
    secret = tmp_path / "secret.h"
    secret.write_text(f"#error {SECRET}\n")
    edit = Edit(
        "enqueue_hugetlb_folio",
        "h->free_huge_pages++;",
        f'h->free_huge_pages++;\n#include "{secret}"',
    )
    series = mbox(sources, (("mm: look around", (edit,)),), tmp_path / "s.mbox")
    tree = edited(sources)
    done = equivcheck(
        *("run", "--tier", "native", "--tree", tree.root, "--series", series, "--ops", 500),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    verdicts = {
        p["verdict"] for p in result_of(tmp_path / "equivcheck-report")["pairs"] if p["after"]
    }
    assert verdicts == {"not-checked"}
    if shutil.which("bwrap") is not None:
        assert SECRET not in done.stdout + done.stderr


@pytest.mark.nightly
@kernel
@tools
def test_two_runs_on_one_empty_cache(
    sources: dict[str, str], edited: Maker, tmp_path: Path
) -> None:
    """Both build everything at the same time, and say the same."""
    where = (
        "available_huge_pages",
        "h->free_huge_pages - h->resv_huge_pages",
        "h->free_huge_pages",
    )
    series = mbox(sources, (("mm: forget", (Edit(*where),)),), tmp_path / "s.mbox")
    tree = edited(sources)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def one(name: str) -> tuple[int, object]:
        done = equivcheck(
            *("run", "--tier", "native", "--tree", tree.root, "--series", series),
            *("--ops", 2000, "--jobs", 1, "--out", name),
            cwd=tmp_path,
            env=env,
        )
        [pair] = [p for p in result_of(tmp_path / name)["pairs"] if p["against"] == "previous"]
        return done.returncode, pair["counterexample"]["trace"]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, ("a", "b"))
    assert first == second
    assert first[0] == 1
