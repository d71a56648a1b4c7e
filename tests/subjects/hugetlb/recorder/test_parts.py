"""What is missing is named, with the command that installs it; what is there is cached."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from equivalence.subjects.hugetlb.recorder import parts
from equivalence.subjects.hugetlb.recorder.errors import MissingPartError

Tools = Callable[..., None]

OFFERED = """
linux-image-6.12.9+deb12-cloud-amd64-unsigned
linux-image-6.12.20+deb12-cloud-amd64-unsigned
linux-image-6.12.20+deb12-cloud-amd64-dbg
linux-image-6.12.30+deb12-rt-amd64-unsigned
linux-image-6.12.30-fake"""
DOWNLOAD = 'echo "$@" >> "$TOOLS/calls"; echo > "$3_1_amd64.deb"'
UNPACK = """mkdir -p unpacked/boot; for v in 9 20; do
echo image $v > unpacked/boot/vmlinuz-6.12.$v+deb12-cloud-amd64; done"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """Make PATH a folder with only the given tools, shell scripts, and use an empty cache."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TOOLS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(**scripts: str) -> None:
        for name, script in scripts.items():
            tool = folder / name.replace("_", "-")
            tool.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
            tool.chmod(0o755)

    return make


def apt(tools: Tools, *, download: str = DOWNLOAD, unpack: str = UNPACK) -> None:
    tools(apt_cache=f"echo '{OFFERED}'", apt_get=download, dpkg=unpack)


def test_no_emulator(tools: Tools) -> None:
    with pytest.raises(MissingPartError, match=r"apt-get install qemu-system-x86$"):
        parts.find_parts()


def test_no_package_tools(tools: Tools) -> None:
    with pytest.raises(MissingPartError, match=r"apt-cache was not found .*kernel image by path"):
        parts.find_kernel()


def test_no_compiler(tools: Tools) -> None:
    with pytest.raises(MissingPartError, match=r"apt-get install gcc libc6-dev$"):
        parts.make_initramfs()


def test_no_static_c_library(tools: Tools) -> None:
    tools(gcc='echo "/usr/bin/ld: cannot find -lc: No such file" >&2; exit 1')
    with pytest.raises(MissingPartError, match=r"apt-get install libc6-dev$"):
        parts.make_initramfs()


def test_c_that_does_not_compile(tools: Tools) -> None:
    tools(gcc='echo "note" >&2; echo "a.c:1: error: no such thing" >&2; exit 1')
    with pytest.raises(
        MissingPartError, match=r"gcc -static .* failed: a\.c:1: error: no such thing; mend"
    ):
        parts.make_initramfs()


def test_the_newest_kernel_on_offer_is_downloaded_once(tools: Tools, tmp_path: Path) -> None:
    apt(tools)
    image = parts.find_kernel()
    assert image.read_text() == "image 20\n"
    assert parts.find_kernel("6.12.20+deb12-cloud-amd64") == image
    assert parts.find_kernel() == image
    calls = (tmp_path / "tools" / "calls").read_text().splitlines()
    assert calls == ["--quiet download linux-image-6.12.20+deb12-cloud-amd64-unsigned"]
    # Nothing but the image stays in the cache.
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept == [image]


def test_a_kernel_by_its_release(tools: Tools) -> None:
    apt(tools)
    assert parts.find_kernel("6.12.9+deb12-cloud-amd64").read_text() == "image 9\n"


def test_a_release_that_nobody_offers(tools: Tools) -> None:
    apt(tools)
    with pytest.raises(MissingPartError, match=r"no package linux-image-6\.12\.8-x-.*apt-get upd"):
        parts.find_kernel("6.12.8-x")


def test_a_download_that_fails_leaves_nothing(tools: Tools, tmp_path: Path) -> None:
    apt(tools, download='echo "E: 404 Not Found" >&2; exit 100')
    with pytest.raises(MissingPartError, match=r"404 Not Found; refresh .* apt-get update && "):
        parts.find_kernel()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_package_without_a_kernel(tools: Tools) -> None:
    apt(tools, unpack="mkdir -p unpacked")
    with pytest.raises(MissingPartError, match=r"holds no boot/vmlinuz-6\.12\.20"):
        parts.find_kernel()


def test_a_kernel_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match=r"no kernel image at .*none; give the path"):
        parts.find_kernel(kernel=tmp_path / "none")
    (tmp_path / "bzImage").touch()
    assert parts.find_kernel(kernel=tmp_path / "bzImage") == tmp_path / "bzImage"


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MissingPartError, match=r"set XDG_CACHE_HOME to a folder"):
        parts.cache_directory()


def test_the_initramfs_is_compiled_once(tools: Tools, tmp_path: Path) -> None:
    tools(gcc='echo call >> "$TOOLS/calls"; while [ "$1" != -o ]; do shift; done; echo elf > "$2"')
    (tmp_path / "cache" / "equivcheck").mkdir(parents=True)
    stale = tmp_path / "cache" / "equivcheck" / "initramfs-0000.cpio"
    stale.touch()
    os.utime(stale, (0, 0))
    another = stale.with_name("initramfs-1111.cpio")
    another.touch()
    first = parts.make_initramfs()
    assert b"elf\n" in first.read_bytes()
    assert parts.make_initramfs() == first
    assert (tmp_path / "tools" / "calls").read_text() == "call\n"
    # One that somebody else made a moment ago may be booting.
    assert sorted(first.parent.iterdir()) == sorted([first, another])
