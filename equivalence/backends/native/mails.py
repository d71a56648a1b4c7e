"""From an mbox to the patches of one series, in order.

As ``git am`` reads mails, with two differences: what is no part of the series (replies, a cover
letter, an older version of the same patches) is left out and noted, and the numbers in the
subjects, not the order in the mailbox, say what comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from typing import Final

from equivalence.backends.native.diffs import FileDiff, SourceHunk, parse_diff
from equivalence.backends.native.errors import SeriesError

MOST_PATCHES: Final = 500
_TITLE_LENGTH: Final = 200
_NAMELESS: Final = "patch without a subject"

#: A line that starts a mail: as git tells one from a sentence, by its time of day and year.
_FROM_LINE: Final = re.compile(
    rb"(?:\A|(?<=\n))From \S+ [^\n]*\d:\d\d(?::\d\d)?[^\n]* \d{4}(?: [+-]\d{4})?[ \t]*\n"
)
_BRACKETS: Final = re.compile(r"\s*\[([^\]]*)\]\s*")
_REPLY: Final = re.compile(r"\s*(re|aw|fwd?|antw)\s*:", re.IGNORECASE)
_BASE: Final = re.compile(r"^base-commit: ([0-9a-f]{7,64})\s*$", re.MULTILINE)
_TRAILER: Final = re.compile(r"([A-Za-z][A-Za-z-]*): (\S.*)")
_NOT: Final = frozenset({"no", "none", "false", "n/a"})


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch of a series, as its mail gives it."""

    title: str
    body: str
    diffs: tuple[FileDiff, ...]
    trailers: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files it changes, relative to the tree."""
        return tuple(sorted({name for diff in self.diffs for name in diff.names}))

    def hunks(self) -> list[SourceHunk]:
        """Its hunks, in order."""
        return [hunk for diff in self.diffs for hunk in diff.hunks]

    @property
    def declares_change(self) -> bool:
        """Whether the patch has the trailer ``Behaviour-change:``, and not with ``no``."""
        return any(
            name.lower().replace("behavior", "behaviour") == "behaviour-change"
            and text.strip().lower() not in _NOT
            for name, text in self.trailers
        )


@dataclass(frozen=True, slots=True)
class PatchSeries:
    """Patches in order; ``base_commit`` as the mails state it, if they do.

    ``notes`` say what the mailbox held besides.
    """

    name: str
    patches: tuple[Patch, ...]
    base_commit: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Mail:
    """A mail with a patch, and what its subject says: version, number and how many there are."""

    patch: Patch
    version: int
    number: int | None
    total: int | None


def series_of(name: str, mails: Sequence[bytes], *, ordered: bool = False) -> PatchSeries:
    """The series in the mails; ``name`` is what results and messages call it.

    With ``ordered`` they come in the order of the series, whatever their subjects say.

    Raises:
        SeriesError: no patch in them, too many, one that may not be applied, or numbers that do
            not make one series.
    """
    base: str | None = None
    found: list[_Mail] = []
    replies = 0
    for mail in mails:
        message = _parsed(mail)
        body = _text(message, mail)
        stated = _BASE.findall(body)
        subject = _subject(message)
        if _REPLY.match(subject):
            replies += _starts_diff(body) is not None
            continue
        base = stated[-1] if stated else base
        one = _patch(subject, body)
        if one is not None:
            found.append(one)
        if len(found) > MOST_PATCHES:
            msg = f"{name}: holds more than {MOST_PATCHES} patches, expected at most {MOST_PATCHES}"
            raise SeriesError(msg)
    notes = [f"{replies} replies with a diff were left out"] if replies else []
    if not found:
        left_out = f" ({notes[0]})" if notes else ""
        msg = f"{name}: holds no patch{left_out}; expected what git format-patch or b4 am writes"
        raise SeriesError(msg)
    newest = max(one.version for one in found)
    kept = [one for one in found if one.version == newest]
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} patches of versions before v{newest} were left out")
    if not ordered:
        kept, more = _in_order(name, kept)
        notes += more
    return PatchSeries(name, tuple(one.patch for one in kept), base, tuple(notes))


def split_mbox(data: bytes) -> list[bytes]:
    """The mails of an mbox; one mail, or a bare diff, is itself.

    Raises:
        SeriesError: it is no text.
    """
    if b"\0" in data:
        msg = "the series holds NUL bytes; expected text"
        raise SeriesError(msg)
    data = data.replace(b"\r\n", b"\n")
    parts = _FROM_LINE.split(data)
    # mboxrd quotes a line of the message that starts with From, and what looks quoted
    return [re.sub(rb"(?m)^>(>*From )", rb"\1", part) for part in parts if part.strip()]


def _parsed(mail: bytes) -> Message | None:
    """The mail with its header; None for a bare diff."""
    if not re.match(rb"[!-9;-~]+:", mail):
        return None
    try:
        return message_from_bytes(mail)
    except (MessageError, ValueError, LookupError):
        return None


def _text(message: Message | None, mail: bytes) -> str:
    """The text of a mail, its transfer encoding undone; bytes that are no UTF-8 are kept."""
    parts = [mail] if message is None else list(_payloads(message))
    text = b"\n".join(parts).replace(b"\r\n", b"\n")
    if b"\0" in text:
        msg = "the series holds NUL bytes; expected text"
        raise SeriesError(msg)
    return text.decode("utf-8", "surrogateescape")


def _payloads(message: Message) -> Iterator[bytes]:
    for part in message.walk():
        kind, name = part.get_content_type(), str(part.get_filename() or "")
        if part.is_multipart() or kind == "text/html":
            continue
        if not kind.startswith("text/") and not name.endswith((".patch", ".diff")):
            continue
        try:
            payload = part.get_payload(decode=True)
        except (MessageError, ValueError, LookupError):
            continue
        if isinstance(payload, bytes):
            yield payload


def _subject(message: Message | None) -> str:
    raw = str(message.get("Subject", "")) if message is not None else ""
    try:
        text = str(make_header(decode_header(raw)))
    except (LookupError, UnicodeError, ValueError, MessageError):
        text = raw
    text = text.encode("utf-8", "replace").decode("utf-8", "replace")
    return re.sub(r"\s+", " ", text[: 10 * _TITLE_LENGTH]).strip()


def _starts_diff(body: str) -> int | None:
    found = re.search(r"^diff --git |^--- [^\n]*\n\+\+\+ ", body, re.MULTILINE)
    return found.start() if found is not None else None


def _patch(subject: str, body: str) -> _Mail | None:
    """The patch in a mail; None for a cover letter, or what is no patch."""
    start = _starts_diff(body)
    if start is None:
        return None
    words: list[str] = []
    rest = subject
    while (match := _BRACKETS.match(rest)) is not None:
        words += match[1].split()
        rest = rest[match.end() :]
    title = rest[:_TITLE_LENGTH].strip() or _NAMELESS
    # v2, but also PATCHv2
    versions = [
        int(one[1]) for word in words if (one := re.fullmatch(r"\D*v(\d{1,4})", word, re.I))
    ]
    numbers = [one for word in words if (one := re.fullmatch(r"(\d{1,4})/(\d{1,4})", word))]
    if numbers and int(numbers[0][1]) == 0:
        return None
    text = re.split(r"^---$", body[:start], maxsplit=1, flags=re.MULTILINE)[0].strip()
    return _Mail(
        Patch(title, text, parse_diff(body[start:], title), _trailers(text)),
        max(versions, default=1),
        int(numbers[0][1]) if numbers else None,
        int(numbers[0][2]) if numbers else None,
    )


def _trailers(text: str) -> tuple[tuple[str, str], ...]:
    """Those of the last paragraph, which is all of trailers but for lines that go on."""
    paragraphs = re.split(r"\n[ \t]*\n", text)
    found = [_TRAILER.fullmatch(line.rstrip()) for line in paragraphs[-1].split("\n")]
    return tuple((match[1], match[2]) for match in found if match is not None)


def _in_order(name: str, mails: list[_Mail]) -> tuple[list[_Mail], list[str]]:
    """The patches in the order of their numbers, if they have any; and what there is to note."""
    numbered = [one for one in mails if one.number is not None]
    if len(numbered) < len(mails):
        if numbered and len(mails) > 1:
            msg = (
                f"{name}: holds {len(numbered)} patches with a number and "
                f"{len(mails) - len(numbered)} without; expected the patches of one series"
            )
            raise SeriesError(msg)
        return mails, []
    by_number: dict[int, _Mail] = {}
    for one in numbered:
        assert one.number is not None
        known = by_number.setdefault(one.number, one)
        if known.total != one.total or known.patch.diffs != one.patch.diffs:
            msg = (
                f"{name}: patch {one.number} is there twice, as '{known.patch.title}' and "
                f"'{one.patch.title}'; expected the patches of one series"
            )
            raise SeriesError(msg)
    totals = {one.total for one in numbered}
    numbers = sorted(by_number)
    gaps = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
    if len(totals) > 1:
        counts = ", ".join(str(total) for total in sorted(totals, key=str))
        msg = f"{name}: holds patches of {counts}; expected the patches of one series"
        raise SeriesError(msg)
    if gaps:
        msg = f"{name}: patch {gaps[0]} of {totals.pop()} is missing; expected no gaps"
        raise SeriesError(msg)
    notes = []
    [total] = totals
    if len(numbers) != total:
        notes.append(f"patches {numbers[0]} to {numbers[-1]} of {total}")
    return [by_number[number] for number in numbers], notes
