from models.schema.divergence import (
    ABSENT,
    Difference,
    Divergence,
    Identity,
    names,
    path_text,
    plain,
)
from models.schema.trace import Op, Trace, parse_trace

OP = Op("touch", {"proc": "A", "map": "m1", "page": 3})
TRACE = Trace("toy", {"nodes": 2}, (Op("spawn", {"id": "A"}), OP))


def test_identity_forgets_names_and_numbers_but_not_the_section() -> None:
    one = Divergence(1, OP, (Difference(("procs", "A", "m1", 3, "folio12"), 1, 2),))
    assert one.identity(TRACE) == Identity("touch", "procs.*.*.#.folio#", None)
    other = Divergence(1, OP, (Difference(("A", "m1"), 1, 2),), "hugetlb_wp")
    assert other.identity(TRACE) == Identity("touch", "A.*", "hugetlb_wp")


def test_names_are_the_words_of_all_arguments() -> None:
    assert names(TRACE) == {"A", "m1"}


def test_a_path_reads_with_dots() -> None:
    assert path_text(("nodes", 0, "free")) == "nodes.0.free"
    assert Difference(("outcome", "errno"), None, "ENOMEM").field == "outcome.errno"


def test_plain_makes_what_json_can_hold() -> None:
    value = {1: (None, True, "x", 1 << 64), "s": frozenset({1}), "absent": ABSENT}
    assert plain(value) == {
        "1": [None, True, "x", 1 << 64],
        "s": "frozenset({1})",
        "absent": "(absent)",
    }


def test_plain_is_bounded_in_depth() -> None:
    assert plain([[["deep"]]], depth=2) == [["['deep']"]]
    assert plain([[1]], depth=2) == [[1]]


def test_a_number_in_words_is_no_name() -> None:
    trace = parse_trace("equivcheck-trace/1 toy\nworld\ntouch nodes=1\n")
    words = trace.with_ops([Op("touch", {"nodes": "1"})])
    assert names(words) == names(trace) == frozenset()
