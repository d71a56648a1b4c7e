"""Runs the programs that touch untrusted code: no network, no home, writing only where told.

Uses bubblewrap where it works, else landlock with a network namespace. Where neither does, the
commands run with resource limits only. :func:`describe` says which it is, for the result.
"""

from __future__ import annotations

import errno
import functools
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from equivalence.backends.native import landlock

#: What a compiler needs to see of the machine; homes are not among it.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
#: Devices that any program may open.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

MEMORY_BYTES: Final = 4 << 30
#: The most that one file may grow to, and that /tmp holds inside.
OUTPUT_BYTES: Final = 512 << 20
#: The most that is taken of what a program says.
SAID_BYTES: Final = 64 << 20

#: With less room than this on a disk, a failure is not blamed on what ran.
_ROOM: Final = 128 << 10
#: How much longer than its bound on processor time a command may take on a busy machine.
_PATIENCE: Final = 4

_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@functools.cache
def bubblewrap() -> str | None:
    """The path of a bubblewrap that works here, or None."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    try:
        probe = subprocess.run(
            [program, "--unshare-all", "--cap-drop", "ALL", *_system_binds(), "true"],
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if probe.returncode == 0 else None


def describe() -> str:
    """One line for the result: what keeps the code under test in."""
    filtered = "no system calls but the shim's own" if filters() else "any system call"
    return f"{_around()}; while it runs: {filtered}"


def _around() -> str:
    if bubblewrap() is not None:
        return "bubblewrap (own namespaces, no network, read-only system) and resource limits"
    if shutil.which("bwrap") is None:
        why = "bubblewrap is not installed (on Debian or Ubuntu: apt-get install bubblewrap)"
    else:
        why = "bubblewrap may not make namespaces here"
    if landlock.version() and landlock.own_network():
        return f"landlock, no network, and resource limits: {why}"
    if landlock.version():
        tcp = "no TCP" if landlock.version() >= 4 else "but the network is open"
        return f"landlock, {tcp}, and resource limits: {why}"
    return f"NONE but resource limits: {why}, and this kernel has no landlock"


def _system_binds() -> list[str]:
    binds: list[str] = []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            binds += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            binds += ["--ro-bind", name, name]
    return binds


def _environment(extra: Mapping[str, str] | None, write: Sequence[Path]) -> dict[str, str]:
    """What a program inside knows of the user: nothing."""
    words = {
        "PATH": _PATH,
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "KBUILD_BUILD_TIMESTAMP": "0",
    }
    if bubblewrap() is None and write:
        words["TMPDIR"] = str(write[0])
    if bubblewrap() is None and not landlock.version():
        # what is installed elsewhere can be run there, since all of the machine is visible
        words["PATH"] = os.environ.get("PATH", _PATH)
    return {**words, **(extra or {})}


def wrap(
    command: Sequence[str],
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    cwd: Path | None = None,
    system: bool = True,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """The command line that runs ``command`` seeing ``read``, and ``write`` to write in.

    With ``system`` false not even the compiler and the libraries are visible. Without bubblewrap
    it is the command itself, which :func:`confinement` keeps in.
    """
    program = bubblewrap()
    if program is None:
        return list(command)
    words = [program, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--cap-drop", "ALL"]
    for name, value in _environment(environment, write).items():
        words += ["--setenv", name, value]
    if system:
        words += [*_system_binds(), "--proc", "/proc", "--dev", "/dev"]
        words += ["--size", str(OUTPUT_BYTES), "--tmpfs", "/tmp"]
    for path in read:
        words += ["--ro-bind", str(path), str(path)]
    for path in write:
        words += ["--bind", str(path), str(path)]
    if cwd is not None:
        words += ["--chdir", str(cwd)]
    return [*words, "--", *command]


def confinement(
    *, read: Sequence[Path] = (), write: Sequence[Path] = (), system: bool = True
) -> Callable[[], None]:
    """What a child calls between fork and exec, so that it is kept in without bubblewrap too."""
    if bubblewrap() is not None or not landlock.version():
        return lambda: None
    network = landlock.own_network()
    seen = [*read, *(Path(name) for name in _SYSTEM if system)]
    written = [*write, *(Path(name) for name in _DEVICES if system)]
    return functools.partial(landlock.enter, read=seen, write=written, network=network)


def filters() -> bool:
    """Whether this kernel can keep a process from all but some system calls."""
    return Path("/proc/sys/kernel/seccomp/actions_avail").exists()


def limits(*, cpu_seconds: int, data: int | None = None) -> Callable[[], None]:
    """What a child calls between fork and exec: bounds on time, memory and output.

    ``data`` bounds the memory that is its own and can be written to, where it reserves far more
    addresses than it uses; else all addresses are bounded.
    """

    def apply() -> None:
        _lower(resource.RLIMIT_CPU, cpu_seconds)
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, OUTPUT_BYTES)
        if data is None:
            _lower(resource.RLIMIT_AS, MEMORY_BYTES)
        else:
            _lower(resource.RLIMIT_DATA, data)

    return apply


def _lower(kind: int, value: int) -> None:
    """Bound something, unless the user has bounded it closer."""
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))


def run(
    command: Sequence[str],
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    cwd: Path | None = None,
    seconds: int = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command inside and wait; what it says is text.

    Raises:
        subprocess.TimeoutExpired: it took several times ``seconds`` on the wall clock.
        OSError: no space for what it says or writes.
    """
    done = run_bytes(command, read=read, write=write, cwd=cwd, seconds=seconds)
    stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def listing(command: Sequence[str], path: Path) -> str:
    """What a program says of one file that untrusted code was made into.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    done = run([*command, str(path)], read=[path])
    done.check_returncode()
    return done.stdout


def run_bytes(
    command: Sequence[str],
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    cwd: Path | None = None,
    seconds: int = 120,
    data: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command inside, with ``data`` to read, and wait.

    What it says goes through files, so that neither a flood nor a pipe that a grandchild keeps open
    can harm the caller.

    Raises:
        subprocess.TimeoutExpired: it took several times ``seconds`` on the wall clock.
        OSError: no space for what it says or writes.
    """
    bound = limits(cpu_seconds=seconds)
    confine = confinement(read=read, write=write)

    def child() -> None:
        bound()
        confine()

    outside = _environment(environment, write) if bubblewrap() is None else None
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(data)
        given.seek(0)
        process = subprocess.Popen(
            wrap(command, read=read, write=write, cwd=cwd, environment=environment),
            cwd=cwd,
            env=outside,
            stdin=given,
            stdout=out,
            stderr=err,
            preexec_fn=child,
            # bubblewrap ends what it started when it ends; without it the group must be ended
            start_new_session=outside is not None,
        )
        try:
            process.wait(timeout=_PATIENCE * seconds)
        except BaseException:
            _end(process, group=outside is not None)
            raise
        if process.returncode:
            _check_room([Path(tempfile.gettempdir()), *write])
        return subprocess.CompletedProcess(command, process.returncode, _said(out), _said(err))


def _check_room(folders: Sequence[Path]) -> None:
    """Tell a full disk from a failure of what ran: it may not even have had room to say so.

    Raises:
        OSError: one of the folders has none left.
    """
    for folder in folders:
        if shutil.disk_usage(folder).free < _ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _said(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read(SAID_BYTES)
