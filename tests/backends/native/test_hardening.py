"""What is not right with the machine, the tree or the patches: one message, and nothing written."""

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from equivalence.backends.native.series import (
    base_of,
    check_base,
    make_steps,
    read_series,
    series_from_range,
)
from equivalence.backends.native.tree import KernelTree
from tests.backends.native.recipes import Edit
from tests.backends.native.test_cli import equivcheck, mbox, result_of
from tests.backends.native.test_series import SMALL, small_mail, small_tree

Maker = Callable[[dict[str, str]], KernelTree]
kernel = pytest.mark.needs_kernel_source("6.12")
tools = pytest.mark.needs_toolchain


def native(*words: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a run that bad input ends says; its status is 2, and there is no traceback."""
    done = equivcheck("run", "--tier", "native", *words, cwd=cwd, env=env)
    assert done.returncode == 2, done.stdout + done.stderr
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


@pytest.mark.parametrize("tool", ["gcc", "make", "flex", "bison", "git"])
def test_a_program_that_is_missing_is_named(tool: str, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_text(small_mail())
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in (
        "gcc",
        "ld",
        "make",
        "flex",
        "bison",
        "addr2line",
        "objdump",
        "nm",
        "perl",
        "bc",
        "git",
    ):
        found = shutil.which(name)
        if name != tool and found is not None:
            (programs / name).symlink_to(found)
    env = {"PATH": str(programs), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = native("--tree", tree, "--series", "s.mbox", cwd=tmp_path, env=env)
    assert f"{tool} is not installed" in said
    assert "install the package" in said


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that cannot be written")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_text(small_mail())
    env = {"XDG_CACHE_HOME": "/proc"}
    said = native("--tree", tree, "--series", "s.mbox", cwd=tmp_path, env=env)
    assert "XDG_CACHE_HOME" in said


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe" + "diff --git".encode("utf-16-le"),
        b"From x Mon Jan 1 00:00:00 2024\nSubject: =?no-such-charset?b?!!!!?=\n\n",
        b"Content-Transfer-Encoding: base64\nSubject: x\n\n!!!!\n",
        b"Content-Type: multipart/mixed; boundary=x\nSubject: x\n\n--x\n--x\n--x--\n",
        b"diff --git a/mm/a.c b/mm/a.c\nrename from ../x\nrename to mm/a.c\n",
        b"diff --git a/mm/a.c b/mm/a.c\n--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n",
        b"From " * 100_000,
    ],
)
def test_hostile_series_are_refused(data: bytes, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree").root
    (tmp_path / "s.mbox").write_bytes(data)
    native("--tree", tree, "--series", "s.mbox", cwd=tmp_path)
    assert (tree / "mm/a.c").read_text() == SMALL["mm/a.c"]


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


def git(folder: Path, *words: str) -> str:
    """git as a user runs it."""
    done = subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    return done.stdout.strip()


def repository(folder: Path) -> KernelTree:
    """Three commits, the second and third of which change mm/a.c."""
    tree = small_tree(folder)
    git(folder, "init", "-q")
    for value in ("1", "2", "3"):
        (folder / "mm/a.c").write_text(SMALL["mm/a.c"].replace("1", value))
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", f"mm: say {value}")
    return tree


def test_a_range_starts_at_its_first_commit(tmp_path: Path) -> None:
    """Whatever is checked out: here the last commit, with a change that nobody committed."""
    tree = repository(tmp_path / "tree")
    (tree.root / "mm/b.c").write_text("changed\n")
    series = series_from_range(tree.root, "HEAD~2..HEAD")
    assert [patch.title for patch in series.patches] == ["mm: say 2", "mm: say 3"]
    base, said = base_of(tree, "HEAD~2..HEAD")
    assert said.startswith("commit ")
    assert "return 1" in (base.root / "mm/a.c").read_text()
    assert (base.root / "mm/b.c").read_text() == SMALL["mm/a.c"]
    steps = make_steps(base, series, tmp_path / "scratch")
    texts = [(step.tree.root / "mm/a.c").read_text() for step in steps if step.tree]
    assert ["return 1" in texts[0], "return 2" in texts[1], "return 3" in texts[2]] == [True] * 3
    assert "return 3" in (tree.root / "mm/a.c").read_text()
    assert (tree.root / "mm/b.c").read_text() == "changed\n"
    assert git(tree.root, "status", "--porcelain") == "M mm/b.c"


def test_hooks_and_filters_of_a_patch_do_not_run(tmp_path: Path) -> None:
    """A repository's hooks are not run by making steps."""
    tree = repository(tmp_path / "tree")
    mark = tmp_path / "ran"
    for name in ("post-checkout", "applypatch-msg", "pre-commit", "post-index-change"):
        hook = tree.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.chmod(0o755)
    series = series_from_range(tree.root, "HEAD~1..HEAD")
    make_steps(base_of(tree, "HEAD~1..HEAD")[0], series, tmp_path / "scratch")
    assert not mark.exists()


def test_the_base_commit_is_checked(tmp_path: Path) -> None:
    tree = repository(tmp_path / "tree")
    first = git(tree.root, "rev-parse", "HEAD~2")

    def said(commit: str) -> str:
        text = small_mail().replace("0123456789abcdef0123456789abcdef01234567", commit)
        return check_base(tree, read_series("-", text.encode()))

    assert "differs from it in mm/a.c" in said(first)
    assert "are those of that commit" in said(git(tree.root, "rev-parse", "HEAD"))
    assert "does not have that commit" in said("0" * 40)
    shutil.rmtree(tree.root / ".git")
    assert "no git repository" in said(first)


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
