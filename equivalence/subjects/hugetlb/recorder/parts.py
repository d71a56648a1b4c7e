"""Find or make what a recording needs: qemu, Debian's kernel image, and our initramfs.

Nothing is installed. The kernel package is downloaded with apt-get and unpacked into the cache,
``$XDG_CACHE_HOME/equivcheck`` (default ``~/.cache/equivcheck``); the guest's program is compiled
from the C files in `guest/` whenever they differ from those of the cached initramfs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from equivalence.subjects.hugetlb.recorder import cpio
from equivalence.subjects.hugetlb.recorder.errors import MissingPartError

RECORDED_RELEASE = "6.12.117+deb12-cloud-amd64"
"""The kernel on which the corpus was recorded; taken by default where it can be had."""

_QEMU = "qemu-system-x86_64"
_RELEASE = re.compile(r"6\.12\.(\d+)(?:-\d+)?(?:\+deb\d+)?-cloud-amd64")
_COMPILE = ("gcc", "-static", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
_DOWNLOAD_SECONDS = 600
_COMPILE_SECONDS = 120
_KEEP_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Parts:
    """Paths of the emulator, the kernel image and the initramfs."""

    qemu: Path
    kernel: Path
    initramfs: Path


def find_parts(release: str | None = None, kernel: Path | None = None) -> Parts:
    """Return everything needed to boot, downloading and compiling what the cache lacks.

    `release` names a kernel as ``uname -r`` does (default: `RECORDED_RELEASE`, else the newest
    6.12 cloud kernel that apt offers); `kernel` is a bzImage to use instead. Raises
    `MissingPartError`.
    """
    qemu = find_qemu()
    return Parts(qemu, find_kernel(release, kernel), make_initramfs())


def cache_directory() -> Path:
    """Return the cache, made if need be. Raises `MissingPartError` if that is impossible."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base) / "equivcheck"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"record: cannot make the cache {path}: {error}; set XDG_CACHE_HOME to a folder"
        raise MissingPartError(msg) from error
    return path


def find_qemu() -> Path:
    """Return the emulator's path. Raises `MissingPartError`."""
    found = shutil.which(_QEMU)
    if found is None:
        msg = f"record: {_QEMU} was not found; install it: apt-get install qemu-system-x86"
        raise MissingPartError(msg)
    return Path(found)


def find_kernel(release: str | None = None, kernel: Path | None = None) -> Path:
    """Return the path of a kernel image; see `find_parts`. Raises `MissingPartError`."""
    if kernel is not None:
        if not kernel.is_file():
            msg = f"record: no kernel image at {kernel}; give the path of a bzImage (vmlinuz)"
            raise MissingPartError(msg)
        return kernel
    wanted = release or RECORDED_RELEASE
    image = _cached_image(wanted)
    if image.is_file():
        return image
    offered = _offered_releases()
    if release is None and wanted not in offered and offered:
        wanted = offered[0]
        image = _cached_image(wanted)
        if image.is_file():
            return image
    if wanted not in offered:
        msg = (
            f"record: apt offers no package {_package(wanted)}; refresh its lists with "
            "apt-get update (Debian 12: with bookworm-security), or give a kernel image by path"
        )
        raise MissingPartError(msg)
    _download(wanted, image)
    return image


def _package(release: str) -> str:
    return f"linux-image-{release}-unsigned"


def _cached_image(release: str) -> Path:
    return cache_directory() / "kernels" / release / "vmlinuz"


def _offered_releases() -> list[str]:
    """Return the 6.12 cloud kernels that apt offers, newest first."""
    for tool, package in (("apt-cache", "apt"), ("apt-get", "apt"), ("dpkg", "dpkg")):
        if shutil.which(tool) is None:
            msg = (
                f"record: {tool} was not found (on Debian: apt-get install {package}), so the "
                "kernel package cannot be unpacked; give a kernel image by path"
            )
            raise MissingPartError(msg)
    listed = subprocess.run(
        ["apt-cache", "pkgnames", "linux-image-6.12."],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: dict[str, int] = {}
    for line in listed.stdout.split():
        release = line.removeprefix("linux-image-").removesuffix("-unsigned")
        match = _RELEASE.fullmatch(release)
        if match and line == _package(release):
            found[release] = int(match[1])
    return sorted(found, key=lambda release: found[release], reverse=True)


def _download(release: str, image: Path) -> None:
    package = _package(release)
    image.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=image.parent.parent, prefix=".download-") as name:
        folder = Path(name)
        _run_tool(["apt-get", "--quiet", "download", package], folder, "download", package)
        debs = sorted(folder.glob("*.deb"))
        if not debs:
            msg = f"record: apt-get download {package} left no package; run it by hand to see why"
            raise MissingPartError(msg)
        _run_tool(["dpkg", "-x", debs[0].name, "unpacked"], folder, "unpack", package)
        unpacked = folder / "unpacked" / "boot" / f"vmlinuz-{release}"
        if not unpacked.is_file():
            msg = f"record: package {package} holds no boot/vmlinuz-{release}; choose another"
            raise MissingPartError(msg)
        image.parent.mkdir(exist_ok=True)
        unpacked.replace(image)


def _run_tool(command: list[str], folder: Path, verb: str, package: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_DOWNLOAD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"record: could not {verb} {package} within {_DOWNLOAD_SECONDS} s; try again"
        raise MissingPartError(msg) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        msg = (
            f"record: could not {verb} {package}: {last}; refresh apt's lists and try again: "
            f"apt-get update && {' '.join(command)}"
        )
        raise MissingPartError(msg)


def compile_static(sources: list[Path], program: Path) -> None:
    """Compile C `sources` into the static executable `program`; warnings are errors.

    Raises `MissingPartError` when the compiler or the static libc is not there, and when the
    sources do not compile (with the compiler's first error).
    """
    if shutil.which("gcc") is None:
        msg = "record: gcc was not found; install it: apt-get install gcc libc6-dev"
        raise MissingPartError(msg)
    command = [*_COMPILE, "-o", str(program), *(str(source) for source in sources)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS
    )
    if done.returncode == 0:
        return
    report = done.stderr
    if "cannot find -lc" in report or "stdio.h: No such file" in report:
        msg = "record: the static C library was not found; install it: apt-get install libc6-dev"
        raise MissingPartError(msg)
    lines = report.strip().splitlines() or ["no message"]
    first = next((line for line in lines if "error" in line), lines[0])
    flags = " ".join(_COMPILE)
    msg = f"record: {flags} failed: {first}; mend the C, or use gcc 12, which is known to work"
    raise MissingPartError(msg)


def make_initramfs() -> Path:
    """Return the initramfs, compiled anew if the guest's sources changed.

    Raises `MissingPartError`.
    """
    guest = resources.files("equivalence.subjects.hugetlb.recorder") / "guest"
    sources = {
        entry.name: entry.read_bytes()
        for entry in guest.iterdir()
        if entry.name.endswith((".c", ".h"))
    }
    digest = hashlib.sha256(repr((_COMPILE, sorted(sources.items()))).encode()).hexdigest()[:16]
    target = cache_directory() / f"initramfs-{digest}.cpio"
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compile-") as name:
        folder = Path(name)
        for source, content in sources.items():
            (folder / source).write_bytes(content)
        compile_static(sorted(folder.glob("*.c")), folder / "init")
        packed = folder / target.name
        packed.write_bytes(
            cpio.archive(
                [
                    cpio.directory("dev"),
                    cpio.character_device("dev/console", 5, 1),
                    cpio.executable("init", (folder / "init").read_bytes()),
                ]
            )
        )
        packed.replace(target)
    for old in target.parent.glob("initramfs-*.cpio"):
        # One that was made of other sources a moment ago may be about to boot.
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _KEEP_SECONDS:
                old.unlink()
    return target
