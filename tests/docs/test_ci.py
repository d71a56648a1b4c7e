"""The gate's files in `docs/ci`, tried as far as can be without the services."""

from __future__ import annotations

import email
import email.policy
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

CI = Path(__file__).resolve().parents[2] / "docs" / "ci"
ACTION = CI / "github" / "action.yml"
WORKFLOW = CI / "github" / "workflow.yml"
BOT = CI / "mail" / "equivcheck-bot"

#: Stands in for equivcheck: notes how it was called, writes reports, ends as it is told.
FAKE = """\
#!{python}
import os, sys
from pathlib import Path
words = sys.argv[1:]
Path(os.environ["CALLED"]).write_text("\\n".join(words))
out = Path(words[words.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
print("a patch's title")
print("::error::as a patch might have it")
status = int(os.environ["STATUS"])
if status in (0, 1, 3):
    (out / "mail.txt").write_text("The verdict.\\n\\u00fc\\nFrom here on\\n" + "x" * 200 + "\\n")
    (out / "github.txt").write_text("::error title=t::diverged\\n")
    (out / "summary.md").write_text("# diverged\\n")
sys.exit(status)
"""

#: As `b4 am -o-` writes a series: no cover letter, no lists.
FROM_B4 = """\
From git@z Thu Jan  1 00:00:00 1970
Subject: [PATCH 2/2] mm/hugetlb: second
From: A Uthor <a@example.org>
Message-Id: <two@example.org>

--- patch ---

From git@z Thu Jan  1 00:00:00 1970
Subject: [PATCH 1/2] mm/hugetlb: first
From: A Uthor <a@example.org>
Message-Id: <one@example.org>

--- patch ---
"""
FROM_GIT = """\
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: A Uthor <a@example.org>
To: linux-mm@kvack.example
Cc: "M. Aintainer" <m@example.org>,
 <a@example.org>
Message-ID: <cover@example.org>
Subject: [RFC PATCH v2 0/2] Rename
 things

Hello.
"""


def workflow_steps(path: Path) -> Iterator[dict[str, Any]]:
    """The steps of a workflow or of a composite action."""
    page = YAML(typ="safe").load(path)
    if "runs" in page:
        yield from page["runs"]["steps"]
    for job in page.get("jobs", {}).values():
        yield from job["steps"]


@pytest.mark.parametrize(
    ("schema", "path"), [("github-actions", ACTION), ("github-workflows", WORKFLOW)]
)
def test_github_would_read_them(schema: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_pinned_and_have_least_rights() -> None:
    used = [s["uses"] for path in (ACTION, WORKFLOW) for s in workflow_steps(path) if "uses" in s]
    assert len(used) == 4
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)
    page = YAML(typ="safe").load(WORKFLOW)
    assert page["permissions"] == {"contents": "read"}
    assert list(page["on" if "on" in page else True]) == ["pull_request"]
    assert all("permissions" not in job for job in page["jobs"].values())
    assert "secrets" not in WORKFLOW.read_text() + ACTION.read_text()


def test_no_input_becomes_part_of_a_script() -> None:
    scripts = [step["run"] for step in workflow_steps(ACTION) if "run" in step]
    assert len(scripts) == 3
    assert not any("${{" in script for script in scripts)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A program in equivcheck's place, where the action expects it."""
    program = tmp_path / "product" / ".venv" / "bin" / "equivcheck"
    program.parent.mkdir(parents=True)
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    return program


def checked(fake: Path, folder: Path, status: int, **inputs: str) -> tuple[int, str]:
    """Run the script of the action's step that checks; its status and what it printed."""
    (step,) = [step for step in workflow_steps(ACTION) if step.get("id") == "check"]
    names = {
        key: re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)
        for key, value in step["env"].items()
    }
    defaults = YAML(typ="safe").load(ACTION)["inputs"]
    env = {key: defaults[m[1]]["default"] for key, m in names.items() if m is not None}
    assert env.keys() == step["env"].keys()
    env |= {
        "GITHUB_ACTION_PATH": str(fake.parents[2] / "docs" / "ci" / "github"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "CALLED": str(folder / "called"),
        "STATUS": str(status),
        **inputs,
    }
    (fake.parents[2] / "docs" / "ci" / "github").mkdir(parents=True, exist_ok=True)
    # As GitHub runs `shell: bash`.
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "syntax" not in done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("status", [0, 1, 3, 4])
def test_the_action_checks(fake: Path, tmp_path: Path, status: int) -> None:
    ended, out = checked(fake, tmp_path, status, RANGE="a..b $(touch evil); `touch evil`")
    assert ended == status
    words = (tmp_path / "called").read_text().splitlines()
    assert words[:4] == ["--no-config", "run", "--tier", "native"]
    assert words[words.index("--range") + 1] == "a..b $(touch evil); `touch evil`"
    assert "--series" not in words
    assert not (tmp_path / "evil").exists()
    assert (tmp_path / "output").read_text() == f"status={status}\n"
    lines = out.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert re.fullmatch(r"[0-9a-f-]{36}", token)
    assert lines[1:4] == ["a patch's title", "::error::as a patch might have it", f"::{token}::"]
    if status != 4:
        assert lines[4:] == ["::error title=t::diverged"]
        assert (tmp_path / "summary").read_text() == "# diverged\n"


def test_the_action_takes_a_series(fake: Path, tmp_path: Path) -> None:
    checked(fake, tmp_path, 0, SERIES="x.mbox")
    words = (tmp_path / "called").read_text().splitlines()
    assert words[words.index("--series") + 1] == "x.mbox"
    assert "--range" not in words


def bot(
    fake: Path, folder: Path, series: str | bytes, *options: str, status: int = 1
) -> subprocess.CompletedProcess[bytes]:
    """Run the bot on a series."""
    command = [sys.executable, str(BOT), "--tree", "linux", "--from", "Bot <bot@example.org>"]
    return subprocess.run(
        [*command, "--equivcheck", str(fake), *options],
        input=series.encode() if isinstance(series, str) else series,
        cwd=folder,
        env={**os.environ, "CALLED": str(folder / "called"), "STATUS": str(status)},
        capture_output=True,
        check=False,
    )


def mail(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def test_the_reply_to_a_series(fake: Path, tmp_path: Path) -> None:
    done = bot(fake, tmp_path, FROM_GIT + "\n" + FROM_B4)
    assert done.returncode == 1
    reply = mail(done.stdout)
    assert reply["Subject"] == "Re: [RFC PATCH v2 0/2] Rename things"
    assert reply["From"] == "Bot <bot@example.org>"
    assert reply["To"] == "A Uthor <a@example.org>"
    assert str(reply["Cc"]) == (
        'linux-mm@kvack.example, "M. Aintainer" <m@example.org>, a@example.org'
    )
    assert reply["In-Reply-To"] == reply["References"] == "<cover@example.org>"
    assert str(reply["Message-ID"]).endswith("@example.org>")
    assert reply.get_content().splitlines() == ["The verdict.", "\u00fc", "From here on", "x" * 200]
    words = (tmp_path / "called").read_text().splitlines()
    assert words[:6] == ["--no-config", "run", "--tier", "native", "--tree", "linux"]
    assert words[words.index("--profile") + 1] == "ci"
    assert b"a patch's title" in done.stderr
    # Nothing stays behind.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["called", "product"]


def test_what_b4_leaves_out_can_be_named(fake: Path, tmp_path: Path) -> None:
    done = bot(fake, tmp_path, FROM_B4, status=0)
    assert done.returncode == 0
    reply = mail(done.stdout)
    assert reply["Subject"] == "Re: [PATCH 1/2] mm/hugetlb: first"
    assert reply["In-Reply-To"] == "<one@example.org>"
    assert reply["Cc"] is None
    options = ("--cc", "linux-mm@kvack.example", "--in-reply-to", "<cover@example.org>")
    reply = mail(bot(fake, tmp_path, FROM_B4, *options).stdout)
    assert reply["Cc"] == "linux-mm@kvack.example"
    assert reply["In-Reply-To"] == "<cover@example.org>"


def test_reports_are_kept_on_demand(fake: Path, tmp_path: Path) -> None:
    bot(fake, tmp_path, FROM_B4, "--keep", "reports")
    assert (tmp_path / "reports" / "mail.txt").is_file()


@pytest.mark.parametrize("status", [2, 4, 130])
def test_there_is_no_reply_to_our_own_troubles(fake: Path, tmp_path: Path, status: int) -> None:
    done = bot(fake, tmp_path, FROM_B4, status=status)
    assert (done.returncode, done.stdout) == (status, b"")
    assert f"no reply: equivcheck ended with status {status}".encode() in done.stderr


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        ("", (), "no mail with a Message-ID on standard input"),
        (b"\xff\x00 junk\n" * 50, (), "no mail with a Message-ID on standard input"),
        (b"x" * ((32 << 20) + 1), (), "more than 33554432 bytes on standard input"),
        (FROM_B4, ("--equivcheck", "no-such-program"), "no-such-program: not found"),
        (FROM_B4, ("--in-reply-to", "a@b"), "--in-reply-to a@b: expected a Message-ID in < and >"),
    ],
)
def test_what_the_bot_refuses(
    fake: Path, tmp_path: Path, series: str | bytes, options: tuple[str, ...], message: str
) -> None:
    done = bot(fake, tmp_path, series, *options)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message.encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_nothing_of_a_series_adds_a_header(fake: Path, tmp_path: Path) -> None:
    evil = (
        "From x Thu Jan  1 00:00:00 1970\n"
        "Subject: =?utf-8?q?=5BPATCH=5D_a=0ABcc=3A_victim=40example.org?=\n"
        "From: =?utf-8?q?A=0ABcc=3A_victim=40example.org?= <a@example.org>\n"
        "Message-ID: <a@b>\x00\x1b[31m\n"
        f"To: {', '.join(f'p{n}@example.org' for n in range(400))}\n"
        "\nbody\n"
    )
    done = bot(fake, tmp_path, evil)
    reply = mail(done.stdout)
    assert reply["Bcc"] is None
    assert len(reply["Cc"].addresses) == 50
    assert done.stdout.count(b"\nSubject:") + done.stdout.startswith(b"Subject:") == 1
    assert b"\x1b" not in done.stdout
    assert b"\nBcc" not in done.stdout
