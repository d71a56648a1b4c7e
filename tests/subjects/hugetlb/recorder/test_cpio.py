"""The initramfs is what the kernel's description of the newc format says."""

import pytest

from equivalence.subjects.hugetlb.recorder import cpio


def members(archive: bytes) -> list[tuple[str, int, int, bytes, tuple[int, int]]]:
    """Read an archive back, by the format's description and not by our writer."""
    found = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * k : at + 14 + 8 * k], 16) for k in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        data = (at + 110 + name_size + 3) // 4 * 4
        content = archive[data : data + size]
        assert len(content) == size
        at = (data + size + 3) // 4 * 4
        found.append((name[:-1].decode(), fields[1], fields[4], content, (fields[9], fields[10])))
        if name == b"TRAILER!!!\0":
            assert at == len(archive)
            return found


def test_members_read_back_as_written() -> None:
    archive = cpio.archive(
        [
            cpio.directory("dev"),
            cpio.character_device("dev/console", 5, 1),
            cpio.executable("init", b"12345"),
        ]
    )
    assert members(archive) == [
        ("dev", 0o040755, 2, b"", (0, 0)),
        ("dev/console", 0o020600, 1, b"", (5, 1)),
        ("init", 0o100755, 1, b"12345", (0, 0)),
        ("TRAILER!!!", 0, 1, b"", (0, 0)),
    ]


@pytest.mark.parametrize("length", range(5))
def test_content_of_any_length_is_padded(length: int) -> None:
    content = b"x" * length
    assert members(cpio.archive([cpio.executable("a" * (length + 1), content)]))[0][3] == content


def test_a_path_from_the_root_is_an_error() -> None:
    with pytest.raises(ValueError, match="begins with a slash"):
        cpio.archive([cpio.directory("/dev")])
