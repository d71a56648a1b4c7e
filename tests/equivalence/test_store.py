import os
from pathlib import Path

import pytest

from equivalence import store as module
from equivalence.store import Store, StoreError, read_trace, trace_hash, write_atomically
from equivalence.subject import WorldError
from models.schema.trace import Op, Trace, TraceError
from tests.toy import ToySubject


def trace(n: int, *, subject: str = "toy", comment: str = "found") -> Trace:
    ops = (Op("take", {"who": "A", "n": 1}),) * n
    return Trace(subject, {"pages": 1}, ops, comments=(comment,))


def check(one: Trace) -> None:
    ToySubject().check_world(one.world)
    for op in one.ops:
        ToySubject().check_op(op)


def test_what_is_saved_is_loaded_in_the_order_of_names(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "store")
    assert store.load("toy", check) == []
    paths = [store.save(kind, trace(n)) for kind, n in (("fault", 2), ("defect", 1))]
    assert [path.name for path in store.files()] == sorted(path.name for path in paths)
    assert store.load("toy", check) == [trace(1), trace(2)]


def test_a_trace_is_kept_once_whatever_its_comments(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, other = (store.save("divergence", trace(1, comment=c)) for c in ("first", "second"))
    assert one == other
    assert one.name == f"divergence-{trace_hash(trace(1))}.trace"
    assert "# second" in one.read_text()


def test_other_files_and_other_subjects_are_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "README").write_text("mine")
    (tmp_path / "folder.trace").mkdir()
    store.save("divergence", trace(1, subject="other"))
    assert store.load("toy", check) == []
    assert (tmp_path / "README").read_text() == "mine"


def test_a_full_store_gives_up_its_largest_file(tmp_path: Path) -> None:
    store = Store(tmp_path, max_files=2)
    small, large = store.save("defect", trace(1)), store.save("defect", trace(9))
    newest = store.save("defect", trace(2))
    assert sorted(store.files()) == sorted([small, newest])
    assert not large.exists()
    store.save("defect", trace(2))
    assert sorted(store.files()) == sorted([small, newest]), "what is there already needs no room"


def test_an_unreadable_trace_is_refused_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bad = tmp_path / "divergence-x.trace"
    bad.write_bytes(b"\xff\xfe nonsense")
    with pytest.raises(TraceError, match=r"divergence-x\.trace: first line is"):
        store.load("toy", check)
    bad.write_text("equivcheck-trace/1 toy\nworld pages=99\n")
    with pytest.raises(WorldError, match="pages is 99"):
        store.load("toy", check)
    with pytest.raises(StoreError, match=r"none\.trace: cannot be read \(No such file"):
        read_trace(tmp_path / "none.trace")


def test_never_more_than_the_bound_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRACE_BYTES", 22)
    path = tmp_path / "long.trace"
    path.write_text("equivcheck-trace/1 toy\nworld pages=1\n")
    with pytest.raises(TraceError, match="no 'world' line"):
        read_trace(path)


def test_a_store_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for use in (
        lambda: Store(file / "sub").prepare(),
        lambda: Store(file / "sub").save("defect", trace(1)),
    ):
        with pytest.raises(StoreError) as caught:
            use()
        assert str(file / "sub") in str(caught.value)
        assert "cannot be written (Not a directory); name another folder" in str(caught.value)
    with pytest.raises(StoreError, match=r"cannot be read \(Not a directory\)"):
        Store(file).files()


def test_prepare_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    Store(tmp_path / "new").prepare()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.trace"
    write_atomically(path, "old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
        Store(tmp_path).save("defect", trace(1))
