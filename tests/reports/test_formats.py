"""The formats for machines and for mail: well-formed, golden, and deaf to what a result says."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from syrupy.assertion import SnapshotAssertion

from equivalence.cli.output import WRITERS
from models.schema.result import (
    EXIT_STATUS,
    HunkEvidence,
    MissedPoint,
    Pair,
    Result,
    SideCoverage,
    Verdict,
    parse_result,
)
from reports import github, junit, ktap, mail, markdown
from tests.reports.results import (
    CALLS,
    COVERAGE,
    every_verdict,
    hostile_alone,
    hostile_result,
    toy_result,
)

TEXTS = ["junit", "ktap", "markdown", "github", "mail"]


@pytest.mark.parametrize("name", [*TEXTS, "json"])
def test_golden(name: str, snapshot: SnapshotAssertion) -> None:
    assert WRITERS[name].text(toy_result()) == snapshot


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_a_writer_is_a_pure_function(name: str, make: Callable[[], Result]) -> None:
    write = WRITERS[name].text
    assert write(make()) == write(parse_result(make().to_json()))


def test_every_format_names_every_verdict() -> None:
    result = every_verdict()
    for name in ("junit", "ktap", "markdown", "mail", "html", "json"):
        text = WRITERS[name].text(result)
        for verdict in Verdict:
            said = verdict.value if name != "junit" else _junit_word(verdict)
            assert said in text, (name, verdict)


def _junit_word(verdict: Verdict) -> str:
    return verdict.value


# -- junit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_junit_counts_what_it_holds(make: Callable[[], Result]) -> None:
    result = make()
    root = ElementTree.fromstring(junit.write(result))
    assert root.tag == "testsuites"
    (suite,) = root.findall("testsuite")
    cases = suite.findall("testcase")
    assert len(cases) == len(result.pairs) == int(suite.attrib["tests"])
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        found = [case for case in cases if case.find(kind) is not None]
        assert len(found) == int(suite.attrib[attribute])
    for case, pair in zip(cases, result.pairs, strict=True):
        green = all(case.find(kind) is None for kind in ("failure", "error", "skipped"))
        assert green == (EXIT_STATUS[pair.verdict] == 0)


def test_junit_holds_what_xml_cannot() -> None:
    result = toy_result().model_copy(update={"series": "a\x00\ufffe\ud800b"})
    suite = ElementTree.fromstring(junit.write(result)).find("testsuite")
    assert suite is not None
    assert suite.attrib["name"].startswith("a\ufffd\ufffd\ufffdb")


#: The form that Jenkins, GitLab and others read: element -> attributes that must and may be there,
#: children in their order, and whether it has text.
_JUNIT: dict[str, tuple[set[str], set[str], tuple[str, ...], bool]] = {
    "testsuites": (set(), {"name"}, ("testsuite",), False),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time"},
        set(),
        ("properties", "testcase"),
        False,
    ),
    "properties": (set(), set(), ("property",), False),
    "property": ({"name", "value"}, set(), (), False),
    "testcase": (
        {"name", "classname", "time"},
        set(),
        ("skipped", "error", "failure", "system-out"),
        False,
    ),
    "failure": ({"message", "type"}, set(), (), True),
    "error": ({"message", "type"}, set(), (), True),
    "skipped": ({"message", "type"}, set(), (), True),
    "system-out": (set(), set(), (), True),
}


@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_junit_has_the_form_that_ci_systems_read(make: Callable[[], Result]) -> None:
    root = ElementTree.fromstring(junit.write(make()))
    assert root.tag == "testsuites"
    for element in root.iter():
        must, may, children, text = _JUNIT[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        order = [children.index(child.tag) for child in element]
        assert order == sorted(order), element.tag
        assert text or not (element.text or "").strip()
        for name in {"tests", "failures", "errors", "skipped"} & set(element.attrib):
            assert element.attrib[name].isdecimal()
        if "time" in element.attrib:
            assert re.fullmatch(r"[0-9]+\.[0-9]{3}", element.attrib["time"])
    names = [case.attrib["name"] for case in root.iter("testcase")]
    assert len(names) == len(make().pairs)


# -- ktap ----------------------------------------------------------------------------------------

_RESULT = re.compile(r"(not )?ok ([0-9]+) ([^#]*[^# ])( # SKIP .*)?")


@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_ktap_is_ktap(make: Callable[[], Result]) -> None:
    result = make()
    lines = ktap.write(result).splitlines()
    assert lines[:2] == ["KTAP version 1", f"1..{len(result.pairs)}"]
    results = [line for line in lines[2:] if not line.startswith("# ")]
    for number, (line, pair) in enumerate(zip(results, result.pairs, strict=True), start=1):
        match = _RESULT.fullmatch(line)
        assert match is not None, line
        assert int(match[2]) == number
        skipped = pair.verdict is Verdict.NOT_CHECKED
        assert bool(match[4]) == skipped
        assert bool(match[1]) == (EXIT_STATUS[pair.verdict] != 0 and not skipped)


# -- markdown ------------------------------------------------------------------------------------


class _Tags(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_markdown_shows_hostile_text_as_text() -> None:
    made = MarkdownIt("commonmark", {"html": True}).enable("table")
    tags = _Tags(made.render(markdown.write(hostile_result())))
    assert set(tags.tags) <= {
        *("h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"),
        *("pre", "code", "details", "summary", "blockquote"),
    }
    assert set(tags.attributes) <= {"class", "style"}
    assert tags.tags.count("table") == markdown.write(hostile_result()).count("|---|---|")


@pytest.mark.parametrize(
    "text", ["@octocat", "#1", "[x](http://a)", "<b>", "a|b", "```", "**x**", "https://x.y"]
)
def test_markdown_has_no_live_text(text: str) -> None:
    made = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown = made.renderInline(markdown.plain(text))
    assert "<" not in shown.replace("&lt;", "")
    assert "@octocat" not in markdown.plain(text)
    assert "https:" not in markdown.plain(text)


def test_a_fence_is_longer_than_what_it_fences() -> None:
    assert markdown.fenced("a ```` b") == ["`````text", "a ```` b", "`````"]


# -- github --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_github_has_one_command_a_line(make: Callable[[], Result]) -> None:
    result = make()
    lines = github.write(result).splitlines()
    for line in lines:
        match = re.fullmatch(r"::(error|warning|notice) title=[^:,]*::[^\r\n]*", line)
        assert match is not None, line
    told = [pair for pair in result.pairs if pair.against != "self" or EXIT_STATUS[pair.verdict]]
    assert len(lines) == len(told) + len(result.defects) + len(result.waivers)


def test_github_marks_the_line_of_a_hunk() -> None:
    pair = toy_result().pairs[-1]
    hunks = (
        HunkEvidence(where="mm/hugetlb.c:1120", fate="not hosted", reason="a, b: c\nd"),
        HunkEvidence(where="somewhere", fate="not compiled", reason="off"),
    )
    evidence = pair.evidence.model_copy(update={"hunks": hunks})
    result = toy_result().model_copy(
        update={"pairs": (pair.model_copy(update={"evidence": evidence}),), "defects": ()}
    )
    lines = github.write(result).splitlines()[1:]
    assert lines == [
        "::notice file=mm/hugetlb.c,line=1120,title=not hosted%3A mm/hugetlb.c%3A1120::a, b: c d",
        "::notice title=not compiled%3A somewhere::off",
    ]


def test_github_marks_where_the_code_parts_and_what_did_not_run() -> None:
    pair = toy_result().pairs[-1]
    found = pair.counterexample
    assert found is not None
    source = CALLS.before.source
    assert source is not None
    after = CALLS.after.model_copy(
        update={"source": source.model_copy(update={"file": "mm/hugetlb.c", "marked": 12})}
    )
    points = [("mm/hugetlb.c:7", None), ("mm/hugetlb.c:8", None), ("mm/hugetlb.c:20", "off"),
              ("152", None)]  # fmt: skip
    missed = tuple(
        MissedPoint(point=point, required=True, reason=reason) for point, reason in points
    )
    coverage = COVERAGE.model_copy(
        update={"after": SideCoverage(reached=0, total=4, missed=missed), "before": None}
    )
    removed = COVERAGE.model_copy(update={"after": None})
    pair = pair.model_copy(
        update={
            "counterexample": found.model_copy(
                update={"calls": CALLS.model_copy(update={"after": after})}
            ),
            "evidence": pair.evidence.model_copy(update={"coverage": (coverage, removed)}),
        }
    )
    lines = github.write(toy_result().model_copy(update={"pairs": (pair,), "defects": ()}))
    heads = [line.rpartition("::")[0] for line in lines.splitlines()]
    assert heads[0].startswith("::error file=mm/hugetlb.c,line=12,title=diverged")
    assert heads[1:] == [
        "::notice file=mm/hugetlb.c,line=7,title=did not run%3A plenty()",
        "::notice file=mm/hugetlb.c,line=20,title=did not run%3A plenty()",
    ]
    assert "%0Athey part in plenty(): finds free >= n false before" in lines


# -- mail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [toy_result, hostile_result, hostile_alone, every_verdict])
def test_mail_is_narrow_and_never_signs(make: Callable[[], Result]) -> None:
    text = mail.write(make())
    for line in text.splitlines():
        assert len(line) <= 72 or " " not in line.strip(), line
    assert not re.search(r"(?im)^\s*[a-z-]+-by:", text)


@pytest.mark.parametrize("tag", ["Tested-by: A <a@b>", "reviewed-By : x", "Fixes: 123", "Cc: you"])
def test_a_title_cannot_make_mail_sign(tag: str) -> None:
    pair = toy_result().pairs[-1].model_copy(update={"title": tag, "patch": tag})
    result = toy_result().model_copy(update={"pairs": (pair,), "series": tag, "waivers": (tag,)})
    assert not re.search(r"(?i)(-by|fixes|cc)\s*:", mail.write(result))


def test_a_long_command_in_mail_is_one_command_still() -> None:
    command = "equivcheck run " + " ".join(f"--option-{n} value{n}" for n in range(20))
    text = mail.write(toy_result().model_copy(update={"command": command}))
    printed = text.split("To repeat this:\n")[1]
    assert "".join(line.removesuffix("\\") for line in printed.splitlines()).split() == [
        "$",
        *command.split(),
    ]


def test_what_is_long_is_cut_and_says_so() -> None:
    result = toy_result()
    pair = result.pairs[-1]
    assert pair.counterexample is not None
    change = pair.counterexample.differences[0]
    example = pair.counterexample.model_copy(
        update={
            "trace": "equivcheck-trace/1 toy\nworld pages=2\n" + "take who=A n=3\n" * 5000,
            "differences": (change,) * 60,
            "replay": "equivcheck replay it",
        }
    )
    long: Pair = pair.model_copy(update={"counterexample": example})
    defects = result.defects * 100
    cut = result.model_copy(update={"pairs": (long,), "defects": defects})
    for name in TEXTS:
        text = WRITERS[name].text(cut)
        assert "equivcheck replay it" in text
        if name in ("ktap", "markdown", "mail"):
            assert re.search("and [0-9,]+ more lines", text, re.IGNORECASE)
        if name in ("markdown", "mail"):
            assert re.search("and [0-9]+ more fields", text, re.IGNORECASE)
            assert re.search(r"(?m)^- and [0-9]+ more$", text)
