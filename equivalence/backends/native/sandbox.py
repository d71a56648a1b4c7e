"""Runs the programs that touch untrusted code: no network, no home, writing only where told.

Uses bubblewrap where it works. Where it does not, the commands run with resource limits only, and
:func:`describe` says so, for the result.
"""

from __future__ import annotations

import functools
import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

#: What a compiler needs to see of the machine; homes are not among it.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")

MEMORY_BYTES = 4 << 30
OUTPUT_BYTES = 512 << 20


@functools.cache
def bubblewrap() -> str | None:
    """The path of a bubblewrap that works here, or None."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    try:
        probe = subprocess.run(
            [program, "--unshare-all", *_system_binds(), "true"],
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if probe.returncode == 0 else None


def describe() -> str:
    """One line for the result: what keeps the code under test in."""
    if bubblewrap() is not None:
        return "bubblewrap (own namespaces, no network, read-only system) and resource limits"
    return "resource limits only: bubblewrap is not installed or may not make namespaces here"


def _system_binds() -> list[str]:
    binds: list[str] = []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            binds += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            binds += ["--ro-bind", name, name]
    return binds


def wrap(
    command: Sequence[str],
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    cwd: Path | None = None,
    system: bool = True,
) -> list[str]:
    """The command line that runs ``command`` seeing ``read``, and ``write`` to write in.

    With ``system`` false not even the compiler and the libraries are visible.
    """
    program = bubblewrap()
    if program is None:
        return list(command)
    words = [program, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]
    words += ["--setenv", "LC_ALL", "C", "--setenv", "HOME", "/nonexistent"]
    words += ["--setenv", "KBUILD_BUILD_TIMESTAMP", "0"]
    if system:
        words += [*_system_binds(), "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in read:
        words += ["--ro-bind", str(path), str(path)]
    for path in write:
        words += ["--bind", str(path), str(path)]
    if cwd is not None:
        words += ["--chdir", str(cwd)]
    return [*words, "--", *command]


def limits(*, cpu_seconds: int, memory: bool = True) -> Callable[[], None]:
    """What a child calls between fork and exec: bounds on time, memory and output."""

    def apply() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
        resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    return apply


def run(
    command: Sequence[str],
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    cwd: Path | None = None,
    seconds: int = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a build command inside and wait.

    Raises:
        subprocess.TimeoutExpired: it took more than twice ``seconds`` on the wall clock.
    """
    return subprocess.run(
        wrap(command, read=read, write=write, cwd=cwd),
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=2 * seconds,
        check=False,
        preexec_fn=limits(cpu_seconds=seconds),
    )
