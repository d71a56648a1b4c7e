"""git on repositories of other people: nothing that they or the user's settings name is run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from equivalence.backends.native.errors import SeriesError, ToolMissingError
from equivalence.backends.native.repository import UserRepository
from equivalence.backends.native.series import (
    base_of,
    check_base,
    make_steps,
    read_series,
    series_from_range,
)
from equivalence.backends.native.tree import KernelTree
from tests.backends.native.test_series import SMALL, small_mail, small_tree


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


@pytest.fixture
def tree(tmp_path: Path) -> KernelTree:
    """Three commits, the second and third of which change mm/a.c."""
    found = small_tree(tmp_path / "tree")
    git(found.root, "init", "-q")
    for value in ("1", "2", "3"):
        (found.root / "mm/a.c").write_text(SMALL["mm/a.c"].replace("1", value))
        git(found.root, "add", "-A")
        git(found.root, "commit", "-q", "-m", f"mm: say {value}")
    return found


def steps_of(tree: KernelTree, commits: str, scratch: Path) -> list[str]:
    """What mm/a.c returns at each step of a range."""
    base, said = base_of(tree, commits)
    assert said.startswith("commit ")
    steps = make_steps(base, series_from_range(tree.root, commits), scratch)
    texts = [(step.tree.root / "mm/a.c").read_text() for step in steps if step.tree]
    return [text.split("return ")[1][0] for text in texts]


def test_a_range_starts_at_its_first_commit(tree: KernelTree, tmp_path: Path) -> None:
    """Whatever is checked out: here the last commit, with a change that nobody committed."""
    (tree.root / "mm/b.c").write_text("changed\n")
    status = git(tree.root, "status", "--porcelain")
    series = series_from_range(tree.root, "HEAD~2..HEAD")
    assert [patch.title for patch in series.patches] == ["mm: say 2", "mm: say 3"]
    assert (series.name, series.notes) == ("HEAD~2..HEAD", ())
    assert steps_of(tree, "HEAD~2..HEAD", tmp_path / "scratch") == ["1", "2", "3"]
    base, _ = base_of(tree, "HEAD~2..")
    assert (base.root / "mm/b.c").read_text() == SMALL["mm/a.c"]
    assert (tree.root / "mm/b.c").read_text() == "changed\n"
    assert git(tree.root, "status", "--porcelain") == status == "M mm/b.c"


def test_work_trees_and_borrowed_objects(tree: KernelTree, tmp_path: Path) -> None:
    """A work tree of its own, a clone that borrows, a shallow clone, an index in two parts."""
    git(tree.root, "worktree", "add", "-q", "--detach", "../other", "HEAD~1")
    git(tmp_path, "clone", "-q", "--shared", "tree", "borrows")
    git(tmp_path, "clone", "-q", "--depth=3", f"file://{tree.root}", "shallow")
    git(tmp_path / "borrows", "update-index", "--split-index")
    for name in ("borrows", "shallow"):
        found = KernelTree(tmp_path / name, tree.version)
        scratch = tmp_path / f"scratch-{name}"
        assert steps_of(found, "HEAD~2..HEAD", scratch) == ["1", "2", "3"]
    other = KernelTree(tmp_path / "other", tree.version)
    assert steps_of(other, "HEAD~1..HEAD", tmp_path / "scratch") == ["1", "2"]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that exists when something was run that must not be."""
    return tmp_path / "mark"


def hostile(tree: KernelTree, mark: Path) -> dict[str, str]:
    """Everything in a repository, and in the user's settings, that makes git run a program."""
    run = mark.parent / "run.sh"
    run.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    run.chmod(0o755)
    hooks = tree.root / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        *("post-checkout", "applypatch-msg", "pre-commit", "post-index-change"),
        *("reference-transaction", "fsmonitor-watchman", "post-applypatch"),
    ):
        shutil.copy(run, hooks / name)
    settings = f"""
[core]
    hooksPath = {hooks}
    fsmonitor = {run}
    pager = {run}
    editor = {run}
    sshCommand = {run}
    gitProxy = {run}
    askPass = {run}
    attributesFile = {mark.parent}/attributes
    alternateRefsCommand = {run}
[filter "bad"]
    clean = {run}
    smudge = {run}
    process = {run}
    required = true
[diff]
    external = {run}
    noprefix = true
    mnemonicPrefix = true
[diff "bad"]
    command = {run}
    textconv = {run}
[merge "bad"]
    driver = {run}
[log]
    showSignature = true
[gpg]
    program = {run}
[format]
    attach = true
    pretty = oneline
    subjectPrefix = NOT A
    signatureFile = /etc/passwd
    outputDirectory = {mark.parent}/written
[pager]
    diff = {run}
    format-patch = {run}
[alias]
    diff = !{run}
    rev-parse = !{run}
    apply = !{run}
[apply]
    whitespace = error
[remote "origin"]
    url = ext::{run}
    promisor = true
    partialclonefilter = blob:none
    uploadpack = {run}
[extensions]
    partialClone = origin
[credential]
    helper = !{run}
[init]
    templateDir = {mark.parent}/template
[include]
    path = {mark.parent}/more
"""
    (mark.parent / "more").write_text(f"[core]\n\tfsmonitor = {run}\n")
    (mark.parent / "attributes").write_text("* filter=bad diff=bad\n")
    (mark.parent / "template/hooks").mkdir(parents=True)
    shutil.copy(run, mark.parent / "template/hooks/post-index-change")
    (tree.root / ".git/info").mkdir(exist_ok=True)
    (tree.root / ".git/info/attributes").write_text("* filter=bad diff=bad merge=bad\n")
    (tree.root / ".gitattributes").write_text("* filter=bad diff=bad\n")
    with (tree.root / ".git/config").open("a") as stream:
        stream.write(settings)
    home = mark.parent / "home"
    (home / "git").mkdir(parents=True)
    (home / ".gitconfig").write_text(settings)
    (home / "git/config").write_text(settings)
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_EXTERNAL_DIFF": str(run),
        "GIT_SSH_COMMAND": str(run),
        "GIT_PAGER": str(run),
        "GIT_TEMPLATE_DIR": str(mark.parent / "template"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(run),
        "GIT_DIR": "/nonexistent",
    }


@pytest.mark.parametrize("missing", [False, True], ids=["whole", "an object is elsewhere"])
def test_nothing_that_a_repository_names_is_run(
    missing: bool, tree: KernelTree, mark: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = git(tree.root, "rev-parse", "HEAD~2")
    mails = small_mail().replace("0123456789abcdef0123456789abcdef01234567", first)
    if missing:
        blob = git(tree.root, "rev-parse", "HEAD~2:mm/a.c")
        (tree.root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    environment = hostile(tree, mark)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # the file's time says that it may have changed: git must look into it
    os.utime(tree.root / "mm/b.c", (1, 1))
    said = check_base(tree, read_series("-", mails.encode()))
    assert "differs from it in mm/a.c" in said
    if missing:
        with pytest.raises(SeriesError, match=f"git says|no kernel|{first[:12]}"):
            steps_of(tree, "HEAD~2..HEAD", tmp_path / "scratch")
    else:
        assert steps_of(tree, "HEAD~2..HEAD", tmp_path / "scratch") == ["1", "2", "3"]
    assert not mark.exists()
    assert not (tmp_path / "written").exists()
    # the settings do run things, where a user's git obeys them
    monkeypatch.delenv("GIT_DIR")
    subprocess.run(["git", "diff", "HEAD~1"], cwd=tree.root, capture_output=True, check=False)
    assert mark.exists()


def test_a_patch_brings_no_attributes(tree: KernelTree, tmp_path: Path) -> None:
    """They would change how later patches apply, and what the files hold."""
    attributes = (
        "diff --git a/mm/.gitattributes b/mm/.gitattributes\nnew file mode 100644\n"
        "--- /dev/null\n+++ b/mm/.gitattributes\n@@ -0,0 +1 @@\n"
        "+* text eol=crlf working-tree-encoding=UTF-16\n"
    )
    text = small_mail().replace("-\treturn 1", "-\treturn 3")
    text = text.replace("diff --git", attributes + "diff --git", 1)
    steps = make_steps(tree, read_series("-", text.encode()), tmp_path / "scratch")
    assert steps[1].tree is not None, steps[1].obstacle
    assert (steps[1].tree.root / "mm/a.c").read_bytes().count(b"\n") == 4
    assert b"return 2;\n" in (steps[1].tree.root / "mm/a.c").read_bytes()
    assert not (steps[1].tree.root / "mm/.gitattributes").exists()


def test_the_base_commit_is_checked(tree: KernelTree) -> None:
    def said(commit: str) -> str:
        text = small_mail().replace("0123456789abcdef0123456789abcdef01234567", commit)
        return check_base(tree, read_series("-", text.encode()))

    first = git(tree.root, "rev-parse", "HEAD~2")
    assert "differs from it in mm/a.c" in said(first)
    assert "differs from it in mm/a.c" in said(first[:12])
    assert "are those of that commit" in said(git(tree.root, "rev-parse", "HEAD"))
    assert "does not have that commit" in said("0" * 40)
    shutil.rmtree(tree.root / ".git")
    assert "no git repository" in said(first)
    (tree.root / ".git").write_text("gitdir: /nonexistent\n")
    assert "no git repository" in said(first)
    (tree.root / ".git").write_text("junk")
    assert UserRepository.find(tree.root) is None


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ("a..b", "'a' names no commit"),
        ("HEAD..b", "'b' names no commit"),
        ("HEAD..HEAD", "no commit with a patch"),
        ("HEAD", "expected A..B"),
        ("--output=x..y", "expected A..B"),
        ("HEAD~1...HEAD", "names no commit"),
        ("ext::sh..x", "expected A..B"),
        ("HEAD:Makefile..HEAD", "expected A..B"),
    ],
)
def test_what_is_no_range(commits: str, said: str, tree: KernelTree) -> None:
    with pytest.raises(SeriesError, match=said):
        series_from_range(tree.root, commits)


def test_git_is_missing(tree: KernelTree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="apt-get install git"):
        make_steps(tree, read_series("-", small_mail().encode()), tmp_path / "scratch")
