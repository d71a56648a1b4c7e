"""A machine that hangs, dies or talks nonsense is ended, and says what happened."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from equivalence.subjects.hugetlb.recorder.errors import GuestDiedError, GuestHungError
from equivalence.subjects.hugetlb.recorder.guest import Machine
from equivalence.subjects.hugetlb.recorder.parts import Parts

PRELUDE = """
import re, socket, sys, time
number = next(int(m[1]) for m in (re.search(r"^socket,.*fd=(\\d+)$", a) for a in sys.argv) if m)
port = socket.socket(fileno=number)
lines = port.makefile("rw")
print("console says hello", flush=True)
"""


@contextmanager
def machine(tmp_path: Path, behaviour: str) -> Iterator[Machine]:
    """Start a stand-in for the emulator: a program with the same command line and port."""
    program = tmp_path / "emulator"
    program.write_text(f"#!{sys.executable}\n{PRELUDE}\n{behaviour}\n")
    program.chmod(0o755)
    started = Machine(Parts(program, tmp_path / "vmlinuz", tmp_path / "initramfs"))
    try:
        yield started
    finally:
        started.close()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_question_gets_its_answer(tmp_path: Path) -> None:
    behaviour = """
for line in lines:
    lines.write('{"heard": "%s"}\\n' % line.strip()); lines.flush()
"""
    with machine(tmp_path, behaviour) as guest:
        assert guest.ask("one", 20) == {"heard": "one"}
        assert guest.ask("two words", 20) == {"heard": "two words"}
        before = guest.running
        guest.close()
        assert (before, guest.running) == (True, False)
        assert gone(guest.pid)


def test_a_long_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    behaviour = """
for line in lines:
    lines.write('{"long": "'); lines.flush(); time.sleep(0.1)
    lines.write("x" * 300000 + '"}\\n'); lines.flush()
"""
    with machine(tmp_path, behaviour) as guest:
        assert len(guest.ask("one", 20)["long"]) == 300000


def test_silence_ends_the_machine(tmp_path: Path) -> None:
    with machine(tmp_path, "time.sleep(600)") as guest:
        begun = time.monotonic()
        with pytest.raises(GuestHungError, match="did not answer 'op 1 spawn 0' within 1 s"):
            guest.ask("op 1 spawn 0", 1)
        assert time.monotonic() - begun < 15
        assert gone(guest.pid)


def test_a_trickle_without_an_end_is_silence_too(tmp_path: Path) -> None:
    behaviour = "while True: lines.write('x'); lines.flush(); time.sleep(0.05)"
    with machine(tmp_path, behaviour) as guest:
        with pytest.raises(GuestHungError):
            guest.ask("hello", 1)
        assert gone(guest.pid)


def test_a_machine_that_ends_leaves_its_last_words(tmp_path: Path) -> None:
    with machine(tmp_path, "print('Kernel panic'); sys.exit(1)") as guest:
        with pytest.raises(GuestDiedError, match=r"(?s)hello.*Kernel panic") as died:
            guest.ask("hello", 20)
        assert not isinstance(died.value, GuestHungError)
        assert guest.console() == ["console says hello", "Kernel panic"]
        assert gone(guest.pid)


def test_what_the_guest_cannot_do_is_an_error(tmp_path: Path) -> None:
    behaviour = """lines.readline(); lines.write('{"error": "no such thing"}\\n'); lines.flush()
time.sleep(600)"""
    with machine(tmp_path, behaviour) as guest:
        with pytest.raises(GuestDiedError, match=r"could not do 'op' \(op 1 x\): no such thing"):
            guest.ask("op 1 x", 20)
        assert gone(guest.pid)


def test_a_machine_that_nobody_holds_any_more_is_ended(tmp_path: Path) -> None:
    with machine(tmp_path, "time.sleep(600)") as guest:
        pid = guest.pid
        assert os.getpgid(pid) == pid
    del guest
    assert gone(pid)
