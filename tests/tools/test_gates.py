"""The gates stop at the first failure, name it, and never skip in silence."""

import os
import shutil
import sys

import pytest

from tools import gates
from tools.gates import Gate, GateError, Options

PLAIN = Options(install=False, nightly=False, pytest_args=[])
INSTALL = Options(install=True, nightly=False, pytest_args=[])


def never_apt(*command: object, **_more: object) -> None:
    pytest.fail(f"must not run {command}")


def test_gates_run_in_order_and_stop_at_the_first_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran: list[str] = []

    def refuse(_options: Options) -> None:
        ran.append("refuse")
        msg = "the reason"
        raise GateError(msg)

    agreeing = Gate("first", 41, lambda _options: ran.append("first"))
    never = Gate("third", 43, lambda _options: ran.append("third"))
    status = gates.run_gates((agreeing, Gate("second", 42, refuse), never), PLAIN)

    assert status == 42
    assert ran == ["first", "refuse"]
    said = capsys.readouterr()
    assert said.err == "second: the reason\nFAILED at: second (exit 42)\n"
    assert "=== first ===" in said.out
    assert "third" not in said.out


def test_every_gate_has_an_exit_code_of_its_own() -> None:
    codes = [gate.exit_code for gate in (*gates.GATES, *gates.NIGHTLY_GATES)]
    assert len(set(codes)) == len(codes)
    # 1 to 4 are equivcheck's own, 130 an interrupt.
    assert all(10 <= code < 100 for code in codes)


def test_a_command_that_fails_or_hangs_or_is_absent_fails_its_gate() -> None:
    gates.call(sys.executable, "-c", "")
    with pytest.raises(GateError, match="exited with status 7"):
        gates.call(sys.executable, "-c", "raise SystemExit(7)")
    with pytest.raises(GateError, match="took longer than 0 s and was ended"):
        gates.call(sys.executable, "-c", "import time; time.sleep(60)", time_limit_s=0.2)
    with pytest.raises(GateError, match="no-such-program is not there; `make venv`"):
        gates.call("no-such-program")


def test_a_command_sees_the_environment_it_is_given() -> None:
    code = "import os, sys; sys.exit(os.environ.get('GATES_PROBE') != 'here')"
    gates.call(sys.executable, "-c", code, env={"GATES_PROBE": "here"})
    with pytest.raises(GateError):
        gates.call(sys.executable, "-c", code)


def test_packages_are_not_installed_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gates, "call", never_apt)
    gates.install_packages(PLAIN)
    said = capsys.readouterr().out
    assert said.startswith("SKIPPED Debian packages: ")
    assert "make test INSTALL=1" in said


def test_installing_without_root_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gates, "call", never_apt)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(GateError, match="needs root, and this is not root"):
        gates.install_packages(INSTALL)
    assert "linux-source-6.12" in capsys.readouterr().out


def test_installing_without_apt_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "call", never_apt)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(GateError, match="needs apt-get, which is not there"):
        gates.install_packages(INSTALL)


def test_installing_names_every_package_to_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[object, ...]] = []
    monkeypatch.setattr(gates, "call", lambda *words, **_more: commands.append(words))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    gates.install_packages(INSTALL)
    update, install = commands
    assert update[-1] == "update"
    assert set(gates.DEBIAN_PACKAGES) <= set(install)


def test_coverage_is_skipped_aloud_when_only_some_tests_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gates, "call", never_apt)
    some = Options(install=False, nightly=False, pytest_args=["-k", "one"])
    gates.engine_coverage(some)
    gates.port_coverage(some)
    assert capsys.readouterr().out.count("SKIPPED coverage of the ") == 2


@pytest.mark.parametrize(
    ("lines", "text"), [([], ""), ([4], "4"), ([3, 5, 6, 7], "3, 5-7"), ([1, 2, 9], "1-2, 9")]
)
def test_line_numbers_are_drawn_together(lines: list[int], text: str) -> None:
    assert gates.ranges(lines) == text
