"""Code that is not trusted: what it may read, write and use up, with bubblewrap and without."""

import errno
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from equivalence.backends.native import landlock, sandbox
from equivalence.backends.native.build import build
from equivalence.backends.native.cache import FileHashes, cache_folder
from equivalence.backends.native.compiler import Compiler, Unit
from equivalence.backends.native.configure import prepare
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.system import run_trace
from equivalence.backends.native.tree import KernelTree
from models.schema.trace import Op, Trace

Maker = Callable[[Mapping[str, str | None]], KernelTree]
kernel = pytest.mark.needs_kernel_source("6.12")
tools = pytest.mark.needs_toolchain

WAYS = [
    pytest.param("bubblewrap", marks=pytest.mark.needs_bubblewrap),
    pytest.param(
        "landlock",
        marks=pytest.mark.skipif(not landlock.version(), reason="this kernel has no landlock"),
    ),
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How what runs is kept in."""
    if request.param == "landlock":
        monkeypatch.setattr(sandbox, "bubblewrap", lambda: None)
    return str(request.param)


def shell(text: str, scratch: Path, *read: Path, seconds: int = 20) -> tuple[int, str]:
    """What a shell inside says; only ``scratch`` may be written to."""
    done = sandbox.run(["sh", "-c", text], read=read, write=[scratch], cwd=scratch, seconds=seconds)
    return done.returncode, done.stdout + done.stderr


def test_only_what_is_given_is_read(way: str, scratch: Path, tmp_path: Path) -> None:
    (scratch / "own").write_text("mine")
    secret, given = Path.home() / f".equivcheck-secret-{os.getpid()}", tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("given")
    secret.write_text("secret")
    (scratch / "link").symlink_to(secret)
    try:
        for name in (secret, "link", "/etc/passwd", "/etc/hostname", f"{tmp_path}/other"):
            status, said = shell(f"cat {name}", scratch, given)
            assert (status != 0, "secret" in said.split("cat:")[0]) == (True, False), (name, said)
    finally:
        secret.unlink()
    assert shell(f"cat own {given}/file", scratch, given) == (0, "minegiven")
    status, said = shell("echo $HOME; env", scratch)
    assert "/nonexistent" in said
    assert str(Path.home()) not in said.replace(str(scratch), "")


def test_only_scratch_is_written(way: str, scratch: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("given")
    for text in (
        *(f"echo x > {given}/new", f"echo x >> {given}/file", f"rm {given}/file"),
        *(f"ln -s x {given}/link", f"mkdir {given}/sub", f"mv {given}/file {given}/f"),
        f"touch {Path.home()}/.equivcheck-written",
    ):
        shell(text, scratch, given)
    assert [entry.name for entry in given.iterdir()] == ["file"]
    assert (given / "file").read_text() == "given"
    assert not (Path.home() / ".equivcheck-written").exists()
    assert shell("echo x > new && mkdir sub && cat new", scratch, given)[0] == 0
    assert (scratch / "new").read_text() == "x\n"


def test_there_is_no_network(way: str, scratch: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        text = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        done = sandbox.run(["/usr/bin/python3", "-c", text], write=[scratch], cwd=scratch)
    assert done.returncode != 0
    assert "Error" in done.stderr, done.stderr


def test_what_runs_is_bounded(way: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, memory and output; and nothing of it lives on."""
    monkeypatch.setattr(sandbox, "OUTPUT_BYTES", 1 << 20)
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 1 << 29)
    assert shell("yes", scratch)[0] != 0
    assert len(shell("yes", scratch)[1]) < (1 << 20) + 100
    assert shell("yes > file", scratch)[0] != 0
    assert (scratch / "file").stat().st_size <= 1 << 20
    monkeypatch.setattr(sandbox, "_PATIENCE", 60)
    assert shell("while :; do :; done", scratch, seconds=1)[0] != 0
    monkeypatch.setattr(sandbox, "_PATIENCE", 2)
    text = "x = bytearray(1 << 30)"
    done = sandbox.run(["/usr/bin/python3", "-c", text], write=[scratch], cwd=scratch)
    assert "MemoryError" in done.stderr
    start = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        shell("(sleep 30; touch late) & sleep 30", scratch, seconds=1)
    assert time.monotonic() - start < 20
    assert "sleep 30" not in subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=False
    ).stdout.replace("touch late", "")


def test_what_keeps_it_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plainly, down to nothing."""
    if sandbox.bubblewrap() is not None:
        assert sandbox.describe().startswith("bubblewrap")
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: None)
    for version, network, said in (
        (7, True, "landlock, no network, and resource limits: bubblewrap "),
        (7, False, "landlock, no TCP, and"),
        (3, False, "landlock, but the network is open, and"),
        (0, True, "NONE but resource limits: bubblewrap "),
    ):
        monkeypatch.setattr(landlock, "version", lambda found=version: found)
        monkeypatch.setattr(landlock, "own_network", lambda found=network: found)
        assert sandbox.describe().startswith(said)
        if not version:
            sandbox.confinement()()  # does nothing, and says so above


def test_bubblewrap_that_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not there, or not allowed to make namespaces."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sandbox.bubblewrap.__wrapped__() is None
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert sandbox.bubblewrap.__wrapped__() is None


@kernel
@tools
def test_landlock_builds_and_runs_a_tree(
    image: object, tree: KernelTree, edited: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler, the linker and a worker, all without bubblewrap."""
    if not landlock.version():
        pytest.skip("this kernel has no landlock")
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: None)
    name = "mm/hugetlb_cgroup.c"
    made = build(edited({name: (tree.root / name).read_text() + "\nint nh_more;\n"}))
    trace = Trace("hugetlb", {}, (Op("spawn", {"id": "A"}), Op("set_nr_hugepages", {"n": 2})))
    assert [step.outcome.ret for step in run_trace(made, trace)] == [0, 0, 0]


SECRET = "no_such_secret_word"

#: What code can try while it is compiled; whether it compiles, and what must be said.
HOSTILE = {
    "include": ('#include "{secret}"\n', "No such file"),
    "include by dots": ('#include "../../../../../../../../../../../..{secret}"\n', "No such file"),
    "incbin": ('asm(".incbin \\"{secret}\\"");\n', "file not found"),
    "include in assembly": ('asm(".include \\"{secret}\\"");\n', "can't open"),
    "dependency": ('#pragma GCC dependency "{secret}"\n', "No such file"),
    "exists": ('#if __has_include("{secret}")\n#error ' + SECRET + "\n#endif\n", None),
    "environment": ('#include "/proc/self/environ"\n', None),
    "password file": ('#include "/etc/passwd"\n', "No such file"),
    "endless file": ('#include "/dev/zero"\n', "out of memory"),
    "input": ('#include "/dev/stdin"\n', None),
    "fill": ('asm(".fill 0x7fffffff,8,1");\n', "limit exceeded|No space"),
    "repeat": ('asm(".rept 1000000000\\n.quad 0\\n.endr");\n', "out of memory"),
    "deep": ("int x = " + "(" * 100_000 + "1" + ")" * 100_000 + ";\n", None),
    "plugin": ('#pragma GCC optimize ("-fplugin=/tmp/x.so")\nint f(void) {{ return 1; }}\n', None),
}


@kernel
@tools
@pytest.mark.needs_bubblewrap
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code(name: str, tree: KernelTree, edited: Maker, tmp_path: Path) -> None:
    """It neither reads what it is not given, nor uses up the machine; what is said is one line."""
    text, said = HOSTILE[name]
    secret = tmp_path / "secret.h"
    secret.write_text(f"#error {SECRET}\n")
    found = edited({"mm/hostile.c": text.format(secret=secret) if "{" in text else text})
    compiler = Compiler(found, prepare(tree, cache_folder()), cache_folder())
    message = log = ""
    try:
        compiler.compile(Unit("hostile", "mm/hostile.c"))
    except BuildError as error:
        message, log = str(error), error.log
    assert SECRET not in message + log
    assert "\n" not in message
    assert "/tmp/cc" not in message
    if said is not None:
        assert any(word in message for word in said.split("|")), message


def test_no_device_is_opened_for_its_content(tmp_path: Path) -> None:
    """The compiler's list of files comes from code that is not trusted."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hashes = FileHashes()
    for name in (fifo, "/dev/stdin", "/dev/zero", "/proc/self/environ", "/proc/kmsg", tmp_path):
        assert hashes.of(str(name)) is None
    assert hashes.of("/nul\0") is None


def test_a_full_disk_is_told_from_a_failure(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails where there is no room may have had no room to say why."""
    assert shell("exit 3", scratch)[0] == 3
    monkeypatch.setattr(sandbox, "_ROOM", 1 << 60)
    assert shell("exit 0", scratch)[0] == 0
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        shell("exit 3", scratch)


def test_limits_of_the_user_stay() -> None:
    """A bound that is closer than ours is kept."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        sandbox.limits(cpu_seconds=5)()

    done = subprocess.run(
        ["sh", "-c", "ulimit -f; ulimit -t"],
        preexec_fn=lower,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["8", "5"]
