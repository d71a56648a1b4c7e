"""git on repositories that are not trusted: nothing that they, or the user's settings, name is run.

Two kinds of folders are worked on. A private repository, made anew, in which patches are applied.
And the user's repository, of which only objects and the index are read, through another private
repository that borrows them: hooks, filters, monitors, aliases and remotes are configuration, and
its configuration is read by nothing but the look-up of a commit's name.

git itself runs in the sandbox, without network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from equivalence.backends.native import sandbox
from equivalence.backends.native.errors import SeriesError, ToolMissingError

#: As little environment as git needs, and no configuration but the repository's own.
_ENVIRONMENT: Final = {
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    # of no protocol anything is fetched, whatever a remote's address says
    "GIT_ALLOW_PROTOCOL": "none",
}
_OVERRIDES: Final = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.symlinks=false"),
    *("-c", "core.attributesFile=/dev/null"),
    *("-c", "safe.directory=*"),
)
_SECONDS: Final = 120
#: How deep repositories may borrow objects from each other.
_BORROWED: Final = 5

Done = subprocess.CompletedProcess[bytes]


def need_git() -> None:
    """Raise unless git is there.

    Raises:
        ToolMissingError: it is not installed.
    """
    if shutil.which("git") is None:
        msg = (
            "git is not installed, and applying patches needs it; on Debian or Ubuntu: "
            "apt-get install git"
        )
        raise ToolMissingError(msg)


def first_line(done: Done) -> str:
    """What git said of a failure, in one line."""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[0][:300] if said else "no message"


def git(
    folder: Path,
    *words: str,
    data: bytes = b"",
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run git in ``folder``, which it sees besides ``read`` and ``write``.

    Raises:
        SeriesError: it did not end in time.
    """
    try:
        return sandbox.run_bytes(
            ["git", *_OVERRIDES, *words],
            read=[folder, *read],
            write=write,
            cwd=folder,
            data=data,
            seconds=_SECONDS,
            environment={**_ENVIRONMENT, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        msg = f"git {words[0]} in {folder} did not end within {_SECONDS} s"
        raise SeriesError(msg) from None


class PatchRepository:
    """A private work tree in which patches are applied."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            ToolMissingError: git is not installed.
            SeriesError: git does not work.
        """
        need_git()
        self.folder = folder
        folder.mkdir(parents=True)
        done = self._git("init", "-q", "--template=")
        if done.returncode:
            msg = f"git cannot make a repository in {folder}: {first_line(done)}"
            raise SeriesError(msg)

    def apply(self, diff: bytes) -> str | None:
        """Apply a diff to the files there; None, or what git has against it."""
        done = self._git("apply", "--whitespace=nowarn", "-", data=diff)
        return first_line(done) if done.returncode else None

    def _git(self, *words: str, data: bytes = b"") -> Done:
        return git(self.folder, *words, data=data, write=[self.folder])


@dataclass(frozen=True, slots=True)
class UserRepository:
    """The repository of a user's tree, read only. ``git_dir`` is the tree's own part of it,
    ``common`` what it shares with other work trees."""

    root: Path
    git_dir: Path
    common: Path

    @classmethod
    def find(cls, root: Path) -> UserRepository | None:
        """The repository whose work tree ``root`` is; None if it is none."""
        dot = root / ".git"
        if dot.is_file():
            match = re.match(r"gitdir: (.+)\n?", dot.read_text(errors="replace"))
            if match is None:
                return None
            dot = root / match[1]
        if not (dot / "HEAD").is_file():
            return None
        shared = dot / "commondir"
        common = dot / shared.read_text(errors="replace").strip() if shared.is_file() else dot
        return cls(root, dot.resolve(), common.resolve())

    @property
    def folders(self) -> tuple[Path, ...]:
        """Everything that holds parts of it."""
        found = {self.git_dir: None, self.common: None}
        waiting = [self.common / "objects"]
        for _ in range(_BORROWED):
            names = [place / "info" / "alternates" for place in waiting]
            texts = [name.read_text(errors="replace") for name in names if name.is_file()]
            waiting = [
                (place / line).resolve()
                for place, text in zip(waiting, texts, strict=False)
                for line in text.splitlines()
                if line and (place / line).is_dir()
            ]
            found |= dict.fromkeys(waiting)
        return tuple(found)

    def commit(self, name: str) -> str | None:
        """The commit that a name stands for; None if there is none."""
        done = git(
            self.root,
            *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"),
            read=self.folders,
            environment={"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(self.root)},
        )
        found = done.stdout.decode(errors="replace").strip()
        return found if done.returncode == 0 and re.fullmatch(r"[0-9a-f]{40,64}", found) else None

    def borrow(self, folder: Path, commit: str) -> Borrowed:
        """A private repository in ``folder`` with the objects and the index of this one.

        Raises:
            SeriesError: git does not work.
        """
        kind = "sha256" if len(commit) == 64 else "sha1"
        done = git(
            folder, "init", "-q", "--template=", "--bare", f"--object-format={kind}", ".",
            write=[folder],
        )  # fmt: skip
        if done.returncode:
            msg = f"git cannot make a repository in {folder}: {first_line(done)}"
            raise SeriesError(msg)
        (folder / "objects" / "info").mkdir(exist_ok=True)
        (folder / "objects" / "info" / "alternates").write_text(f"{self.common / 'objects'}\n")
        for source in (
            self.common / "shallow",
            self.git_dir / "index",
            *self.git_dir.glob("sharedindex.*"),
        ):
            if source.is_file():
                shutil.copyfile(source, folder / source.name)
        return Borrowed(self, folder)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A private repository that reads the user's objects and work tree."""

    owner: UserRepository
    folder: Path

    def git(self, *words: str, data: bytes = b"") -> Done:
        """Run git on it, with the user's work tree.

        Raises:
            SeriesError: it did not end in time.
        """
        return git(
            self.owner.root,
            *words,
            data=data,
            read=self.owner.folders,
            write=[self.folder],
            environment={"GIT_DIR": str(self.folder), "GIT_WORK_TREE": str(self.owner.root)},
        )

    def blobs(self, commit: str, names: Sequence[str]) -> dict[str, bytes]:
        """The content of files as a commit has them; what it does not have is left out.

        Raises:
            SeriesError: git does not work.
        """
        request = b"".join(f"{commit}:{name}\n".encode() for name in names)
        done = self.git("cat-file", "--batch", data=request)
        if done.returncode:
            msg = f"git cannot read commit {commit[:12]}: {first_line(done)}"
            raise SeriesError(msg)
        answer, at = done.stdout, 0
        found: dict[str, bytes] = {}
        for name in names:
            end = answer.index(b"\n", at)
            words = answer[at:end].split(b" ")
            at = end + 1
            if len(words) == 3 and words[2].isdigit():
                size = int(words[2])
                if words[1] == b"blob":
                    found[name] = answer[at : at + size]
                at += size + 1
        return found
