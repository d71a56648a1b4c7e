"""What mailers, archives and enemies make of patches, and the series that comes out."""

import base64
import quopri
import re
import subprocess
import time
from pathlib import Path

import pytest

from equivalence.backends.native.diffs import parse_diff
from equivalence.backends.native.errors import SeriesError
from equivalence.backends.native.mails import MOST_PATCHES, PatchSeries, split_mbox
from equivalence.backends.native.series import MAX_BYTES, read_series

FROM = "From 0000 Mon Sep 17 00:00:00 2001\n"
HUNK = "@@ -1,4 +1,4 @@\n int a(void)\n {\n-\treturn 1;\n+\treturn 2;\n }\n"


def diff(name: str = "mm/a.c", hunk: str = HUNK, extra: str = "") -> str:
    return f"diff --git a/{name} b/{name}\n{extra}--- a/{name}\n+++ b/{name}\n{hunk}"


def mail(subject: str, body: str | None = None, headers: str = "", text: str = "Why.\n") -> str:
    patch = diff() if body is None else body
    head = f"{FROM}From: A <a@example.org>\nSubject: {subject}\n{headers}\n"
    return f"{head}{text}---\n{patch}-- \n2.39\n\n"


def series(*mails: str) -> PatchSeries:
    return read_series("-", "".join(mails).encode())


def titles(*mails: str) -> list[str]:
    return [patch.title for patch in series(*mails).patches]


def test_encoded_mails_say_the_same() -> None:
    """Quoted-printable, base64, CRLF, mboxrd and a multipart mail give the plain mail's patch."""
    plain = mail("[PATCH 1/1] mm: é", text="From here on é.\n").encode()
    head, _, body = plain.partition(b"\n\n")
    quoted = head + b"\nContent-Transfer-Encoding: quoted-printable\n\n"
    sixty = head + b"\nContent-Transfer-Encoding: base64\n\n"
    parts = (
        head + b"\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/html\n\n"
    )
    parts += b"<pre>diff --git a/no b/no</pre>\n--x\nContent-Type: text/plain; charset=utf-8\n\n"
    variants = [
        quoted + quopri.encodestring(body),
        quoted + quopri.encodestring(body).replace(b"\n", b"\r\n"),
        sixty + base64.encodebytes(body),
        sixty + base64.encodebytes(body.replace(b"\n", b"\r\n")),
        plain.replace(b"\n", b"\r\n"),
        head + b"\n\n" + re.sub(rb"(?m)^(>*From )", rb">\1", body),
        parts + body + b"\n--x--\n",
    ]
    [expected] = read_series("-", plain).patches
    assert expected.body == "From here on é."
    for data in variants:
        [patch] = read_series("-", data).patches
        assert patch == expected, data


@pytest.mark.parametrize(
    ("subject", "title"),
    [
        ("[PATCH v2 1/1] mm: =?utf-8?q?say_two?=", "mm: say two"),
        ("[RFC PATCH] [mm] mm:\n  folded", "mm: folded"),
        ("=?no-such-charset?b?!!!!?= x", "=?no-such-charset?b?!!!!?= x"),
        ("[PATCH]", "patch without a subject"),
        ("[" * 5000, "[" * 200),
    ],
)
def test_titles(subject: str, title: str) -> None:
    assert titles(mail(subject)) == [title]


def test_what_is_no_part_of_the_series_is_left_out() -> None:
    """Cover letter, replies, the version before; the numbers give the order."""
    found = series(
        mail("[PATCH v2 2/2] mm: second"),
        mail("Re: [PATCH v2 1/2] mm: first", "How about\n" + diff("mm/other.c")),
        mail("[PATCH v2 0/2] mm: cover", " mm/a.c | 2 +-\n"),
        mail("Re: [PATCH v2 1/2] mm: first", "> diff --git a/x b/x\n"),
        mail("[PATCHv2 1/2] mm: first"),
        mail("[PATCH 1/2] mm: first"),
        mail("[PATCH v2 1/2] mm: first"),
    )
    assert [patch.title for patch in found.patches] == ["mm: first", "mm: second"]
    assert found.notes == (
        "1 replies with a diff were left out",
        "1 patches of versions before v2 were left out",
    )


def test_a_part_of_a_series_says_so() -> None:
    found = series(mail("[PATCH 3/4] three"), mail("[PATCH 2/4] two"))
    assert [patch.title for patch in found.patches] == ["two", "three"]
    assert found.notes == ("patches 2 to 3 of 4",)
    assert titles(mail("[PATCH] b"), mail("[PATCH] a")) == ["b", "a"]


@pytest.mark.parametrize(
    ("mails", "said"),
    [
        ((mail("[PATCH 1/3] a"), mail("[PATCH 3/3] c")), "patch 2 of 3 is missing"),
        ((mail("[PATCH 1/2] a"), mail("[PATCH 2/3] b")), "patches of 2, 3"),
        ((mail("[PATCH 1/2] a"), mail("[PATCH] b")), "1 patches with a number and 1 without"),
        (
            (mail("[PATCH 1/1] a"), mail("[PATCH 1/1] b", diff("mm/b.c"))),
            "patch 1 is there twice, as 'a' and 'b'",
        ),
        ((mail("[PATCH 0/1] cover"),), "holds no patch"),
        ((mail("Re: [PATCH] a"),), "holds no patch .1 replies with a diff"),
        ((mail("a"),) * (MOST_PATCHES + 1), f"more than {MOST_PATCHES} patches"),
    ],
)
def test_what_makes_no_series(mails: tuple[str, ...], said: str) -> None:
    with pytest.raises(SeriesError, match=said):
        series(*mails)


def test_base_and_trailers() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    found = series(
        mail("[PATCH 0/1] cover", f" mm/a.c | 2 +-\n\nbase-commit: {commit}\n"),
        mail("[PATCH 1/1] a", text="Behaviour-change: see below\n\nWhy.\n\nSigned-off-by: A\n"),
    )
    assert found.base_commit == commit
    [patch] = found.patches
    assert patch.trailers == (("Signed-off-by", "A"),)
    assert not patch.declares_change

    def declares(line: str) -> bool:
        return series(mail("a", text=f"Why.\n\nFixes: x\n{line}\n")).patches[0].declares_change

    assert declares("Behaviour-change: the child keeps its page")
    assert declares("behavior-change: yes")
    assert not declares("Behaviour-change: none")
    assert not declares("Behaviour: change")


def test_git_s_own_words(tmp_path: Path) -> None:
    """format-patch with a cover letter, attachments and a thread, of text that is hard to mail."""

    def git(*words: str) -> bytes:
        return subprocess.run(
            ["git", "-c", "user.name=Ä", "-c", "user.email=a@example.org", *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        ).stdout

    git("init", "-q")
    for number, text in enumerate(("int a;\n", "int a; /* \xe9 */\n", "int a;\f\nFrom b;\n")):
        (tmp_path / "a.c").write_bytes(text.encode("latin-1"))
        git("add", "a.c")
        message = f"mm: {number} é\n\nFrom 10:00 on\n---\nBehaviour-change: yes\n"
        git("commit", "-q", "-m", message)
    plain = read_series("-", git("format-patch", "--stdout", "-2"))
    assert [patch.title for patch in plain.patches] == ["mm: 1 é", "mm: 2 é"]
    for option in ("--cover-letter", "--attach", "--thread=deep", "--inline"):
        assert read_series("-", git("format-patch", "--stdout", option, "-2")).patches == (
            plain.patches
        ), option


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (diff("../../etc/passwd"), "not below the tree"),
        (diff("/etc/passwd"), "not below the tree"),
        ("--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n", "not below the tree"),
        (diff(".git/hooks/pre-commit"), "not below the tree"),
        (diff("mm/.git/config"), "not below the tree"),
        (diff("mm/a c"), "plain names"),
        (diff("mm/*.c"), "plain name"),
        (diff("mm//a.c"), "plain name"),
        (diff("mm/" + 300 * "a"), "plain name"),
        (diff("a/" * 600 + "a"), "plain name"),
        ('diff --git "a/\\056\\056/x" "b/x"\n', "plain names"),
        ("diff --git mm/a.c mm/a.c\n", "a/NAME b/NAME"),
        ("--- mm/a.c\n+++ mm/a.c\n" + HUNK, "starts with a/ or b/"),
        ("diff --git a/mm/a.c b/mm/a.c\nrename from ../x\nrename to mm/a.c\n", "below the tree"),
        ("diff --git a/x b/x\n--- a/x\n+++ b/Makefile\n" + HUNK, "as one file"),
        (diff(extra="new file mode 120000\n"), "symbolic link"),
        (diff(extra="old mode 120000\nnew mode 100644\n"), "symbolic link"),
        (diff(extra="index 1234567..89abcde 160000\n"), "submodule"),
        (diff(extra="deleted file mode 160000\n"), "submodule"),
        (diff(extra="GIT binary patch\nliteral 3\nabc\n"), "binary patch"),
        ("diff --git a/x b/x\nBinary files a/x and b/x differ\n", "binary patch"),
        (diff(hunk="@@ -1,9 +1,9 @@\n a\n") + diff("../x"), "hunk ends early"),
        (diff(hunk="@@ -1,9 +1,9 @@\n a\n"), "hunk ends early"),
        (diff(hunk="@@ -1,99 +1,99 @@\n a\n") + 99 * "-\n", "hunk ends early|cut short"),
    ],
)
def test_diffs_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(SeriesError, match=f"patch 'a': .*{said}"):
        series(mail("a", text))


def test_what_a_diff_does_to_files() -> None:
    text = (
        diff("mm/a.c")
        + "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n"
        + "diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n"
        + "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+hi\n"
        + "\\ No newline at end of file\n"
        + "--- a/plain.c\n+++ b/plain.c\n@@ -7 +6,0 @@ int f(void)\n-GIT binary patch\n"
        + "-- \nsignature\n--- a\nb\n"
    )
    files = parse_diff(text, "t")
    assert [(one.before, one.after) for one in files] == [
        ("mm/a.c", "mm/a.c"),
        ("x", "y"),
        ("run.sh", "run.sh"),
        ("", "n"),
        ("plain.c", "plain.c"),
    ]
    hunks = [(h.before, h.after, h.heading) for one in files for h in one.hunks]
    assert hunks == [
        ((3,), (3,), ""),
        ((), (), "rename from x, rename to y"),
        ((), (), "new mode 100755"),
        ((), (1,), ""),
        ((7,), (), "int f(void)"),
    ]
    assert files[3].text.endswith("+hi\n\\ No newline at end of file\n")
    assert files[4].text.endswith("-GIT binary patch\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no patch"),
        (b"hello\n" * 1000, "holds no patch"),
        (b"From " * 100_000, "holds no patch"),
        (b"From a 10:00 2024\n" * 50_000, "holds no patch"),
        (b"Subject: " + b"[" * (1 << 20), "holds no patch"),
        (b"\xff\xfe" + "diff --git".encode("utf-16-le"), "NUL"),
        (b"Content-Transfer-Encoding: base64\n\n" + base64.b64encode(b"diff --git \0"), "NUL"),
        (b"Content-Transfer-Encoding: base64\nSubject: x\n\n!!!!\n", "holds no patch"),
        (b"Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\n--x--\n", "holds no patch"),
        (b"Content-Type: multipart/mixed\n\ndiff\n", "holds no patch"),
        (b"x" * (MAX_BYTES + 1), "more than"),
        (b"@@ -1 +1 @@\n" * 10_000, "holds no patch"),
    ],
)
def test_junk(data: bytes, said: str) -> None:
    """Refused, and soon."""
    start = time.process_time()
    with pytest.raises(SeriesError, match=said):
        read_series("-", data)
    assert time.process_time() - start < 20


def test_a_folder(tmp_path: Path) -> None:
    """By the names of the files, or as quilt's file says; nothing outside of it is read."""
    (tmp_path / "0002-b.patch").write_text(mail("[PATCH 1/1] second"))
    (tmp_path / "0001-a.patch").write_text(mail("[PATCH 1/1] first"))
    (tmp_path / "README").write_text("no patch")
    assert [p.title for p in read_series(tmp_path).patches] == ["first", "second"]
    order = tmp_path / "series"
    order.write_text("# quilt\n0002-b.patch\n\n0001-a.patch -p1 # why\n")
    assert [p.title for p in read_series(tmp_path).patches] == ["second", "first"]
    for text, said in (
        ("../x.patch", "expected a file of that folder"),
        ("/etc/passwd", "expected a file of that folder"),
        ("missing.patch", "expected a file of that folder"),
        ("0001-a.patch -p0", "options"),
    ):
        order.write_text(text)
        with pytest.raises(SeriesError, match=said):
            read_series(tmp_path)
    with pytest.raises(SeriesError, match="no such file"):
        read_series(tmp_path / "none")
    with pytest.raises(SeriesError, match="more than"):
        read_series("/dev/zero")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeriesError, match="holds no patch"):
        read_series(tmp_path / "empty")


def test_lines_that_only_look_like_a_new_mail() -> None:
    text = "From the start\nFrom 2024 on\nFrom v6.12 at 10:30\n"
    assert len(split_mbox((FROM + "Subject: a\n\n" + text).encode())) == 1
