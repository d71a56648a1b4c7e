"""One machine in QEMU: started, asked one question at a time, and ended for certain.

The emulator runs in a process group of its own, without a file on disk: requests go over a socket
that becomes the guest's virtio-serial port, the console comes back over a pipe. It is ended by
`Machine.close`, at the interpreter's exit, when the machine object is collected, by the kernel
when the thread that started it dies, and by the guest itself when the socket closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from typing import IO, Any

from equivalence.subjects.hugetlb.recorder.errors import GuestDiedError, GuestHungError
from equivalence.subjects.hugetlb.recorder.parts import Parts

NODE_MB = 512
NODES = 2

_KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "panic=-1",
    "oops=panic",
    "mitigations=off",
    "numa_balancing=disable",
    "transparent_hugepage=never",
    "random.trust_cpu=on",
    "rdinit=/init",
)
_CONSOLE_LINES = 400
_MESSAGE_LINES = 12
_END_SECONDS = 10


class Machine:
    """A running guest; see the module's docstring for how it ends."""

    def __init__(self, parts: Parts) -> None:
        """Start the emulator; the guest boots by itself. Raises `OSError` if it cannot start."""
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(
                _command(parts, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        assert process.stdout is not None
        self._process = process
        self._socket = ours
        self._unread = b""
        self._console: deque[str] = deque(maxlen=_CONSOLE_LINES)
        self._reader = threading.Thread(
            target=_drain, args=(process.stdout, self._console), daemon=True
        )
        self._reader.start()
        self._end = weakref.finalize(self, _end, process, ours, self._reader)

    @property
    def pid(self) -> int:
        """The emulator's process id, which is also its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the machine has not been ended."""
        return self._end.alive

    def console(self) -> list[str]:
        """Return the last lines of the console: the kernel's log, and the emulator's errors."""
        return list(self._console)

    def ask(self, request: str, seconds: float, payload: bytes = b"") -> dict[str, Any]:
        """Send one request line (and `payload`) and return the guest's answer.

        Any failure, interruption included, ends the machine, because the conversation is then
        out of step. Raises `GuestHungError` after `seconds`, `GuestDiedError` if the machine ended.
        """
        try:
            return self._ask(request, seconds, payload)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the machine, if it runs, and wait until it is gone."""
        self._end()

    def _ask(self, request: str, seconds: float, payload: bytes) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        verb = request.split(" ", 1)[0]
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(request.encode() + b"\n" + payload)
            line = self._line(deadline)
        except TimeoutError as error:
            msg = (
                f"record: the guest did not answer {request!r} within {seconds:g} s; {self._why()}"
            )
            raise GuestHungError(msg) from error
        except OSError as error:
            msg = f"record: the guest ended at {request!r}; {self._why()}"
            raise GuestDiedError(msg) from error
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            msg = f"record: the guest could not do {verb!r} ({request}): {answer['error']}"
            raise GuestDiedError(msg)
        return answer

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise ConnectionResetError
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _why(self) -> str:
        # What the console says last may still be on its way.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        last = self.console()[-_MESSAGE_LINES:]
        return "its console ends:\n  " + "\n  ".join(last) if last else "its console is empty"


def _command(parts: Parts, port: int) -> list[str]:
    command = [str(parts.qemu), "-nodefaults", "-no-user-config", "-no-reboot"]
    command += ["-display", "none", "-machine", "pc", "-accel", "tcg", "-smp", str(NODES)]
    command += ["-m", f"{NODES * NODE_MB}M"]
    for node in range(NODES):
        command += ["-object", f"memory-backend-ram,id=ram{node},size={NODE_MB}M"]
        command += ["-numa", f"node,nodeid={node},cpus={node},memdev=ram{node}"]
    command += ["-kernel", str(parts.kernel), "-initrd", str(parts.initramfs)]
    command += ["-append", " ".join(_KERNEL_ARGUMENTS)]
    command += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    command += ["-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-pci"]
    command += ["-device", "virtserialport,chardev=port,name=equivcheck.record"]
    # Even a SIGKILL of this process must not leave an emulator behind.
    wrapper = shutil.which("setpriv")
    return [wrapper, "--pdeathsig", "KILL", *command] if wrapper else command


def _drain(console: IO[bytes], lines: deque[str]) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in console:
            lines.append(line.decode(errors="replace").rstrip())


def _end(process: subprocess.Popen[bytes], ours: socket.socket, reader: threading.Thread) -> None:
    if process.poll() is None:  # once it is reaped, its number may be another's
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    ours.close()
    process.wait(timeout=_END_SECONDS)
    reader.join(timeout=_END_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
