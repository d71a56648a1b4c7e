"""The maps name every module: a newcomer finds each from them."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("page", "folder"),
    [
        ("ARCHITECTURE.md", "equivalence"),
        ("docs/native.md", "equivalence/backends/native"),
        ("docs/native.md", "equivalence/backends/native/shim"),
    ],
)
def test_a_map_names_every_file_of_a_folder(page: str, folder: str) -> None:
    text = (ROOT / page).read_text()
    names = {path.name for path in (ROOT / folder).iterdir() if path.suffix in (".py", ".c")}
    assert sorted(name for name in names - {"__init__.py"} if name not in text) == []
