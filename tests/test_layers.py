"""The contracts on imports in pyproject.toml catch what they are for, and allow what is meant.

Each case plants one import in a small tree of the product's shape.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

TREE = {
    "equivalence/__init__.py": "",
    "equivalence/backends/__init__.py": "",
    "equivalence/backends/port.py": "from models.schema import trace\n",
    "equivalence/cli.py": (
        "import equivalence.gate, equivalence.subjects.hugetlb.ops, reports.html\n"
        "import legacy.hugetlb, models.kernel.locks, refactored.hugetlb\n"
    ),
    "equivalence/driver.py": "",
    "equivalence/gate.py": "from equivalence import driver\nfrom models.schema import trace\n",
    "equivalence/subjects/__init__.py": "",
    "equivalence/subjects/hugetlb/__init__.py": "",
    "equivalence/subjects/hugetlb/ops.py": (
        "from equivalence import driver\n"
        "import legacy.hugetlb, models.hugetlb, models.kernel.locks, refactored.hugetlb\n"
        "import stable.unmap\n"
    ),
    "legacy/__init__.py": "",
    "legacy/hugetlb.py": "from models.hugetlb import subpool\n",
    "models/__init__.py": "",
    "models/hugetlb/__init__.py": "",
    "models/hugetlb/subpool.py": (
        "from models.kernel import locks\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    import legacy.hugetlb\n"
    ),
    "models/kernel/__init__.py": "",
    "models/kernel/locks.py": "",
    "models/schema/__init__.py": "",
    "models/schema/trace.py": "",
    "refactored/__init__.py": "",
    "refactored/hugetlb.py": "from models.hugetlb import subpool\n",
    "reports/__init__.py": "",
    "reports/html.py": "from models.schema import trace\n",
    "stable/__init__.py": "",
    "stable/unmap.py": "from models.hugetlb import subpool\n",
}


def lint(folder: Path, extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Check the tree with one more line in some files."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, text in TREE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + extra.get(name, ""))
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_imports_that_are_meant_are_allowed(tmp_path: Path) -> None:
    done = lint(tmp_path, {})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("models/schema/trace.py", "models.kernel.locks", "models.schema imports nothing of ours"),
        ("models/kernel/locks.py", "equivalence.driver", "models know no port, engine or report"),
        ("models/hugetlb/subpool.py", "legacy.hugetlb", "models know no port, engine or report"),
        ("legacy/hugetlb.py", "refactored.hugetlb", "legacy imports only models"),
        ("legacy/hugetlb.py", "equivalence.driver", "legacy imports only models"),
        ("refactored/hugetlb.py", "legacy.hugetlb", "refactored imports only models"),
        ("refactored/hugetlb.py", "reports.html", "refactored imports only models"),
        ("stable/unmap.py", "refactored.hugetlb", "stable imports only models"),
        ("refactored/hugetlb.py", "stable.unmap", "refactored imports only models"),
        ("equivalence/driver.py", "stable.unmap", "only subjects join models and ports"),
        ("reports/html.py", "equivalence.driver", "reports import only models.schema"),
        ("reports/html.py", "models.kernel.locks", "reports import only models.schema"),
        ("equivalence/driver.py", "legacy", "only subjects join models and ports"),
        (
            "equivalence/backends/port.py",
            "models.kernel.locks",
            "only subjects join models and ports",
        ),
        (
            "equivalence/driver.py",
            "equivalence.subjects.hugetlb.ops",
            "only the command line imports subjects",
        ),
        ("equivalence/gate.py", "reports.html", "only the command line imports reports"),
        ("equivalence/gate.py", "equivalence.cli", "nothing imports the command line"),
    ],
)
def test_an_import_against_the_rules_breaks_its_contract(
    tmp_path: Path, importer: str, imported: str, contract: str
) -> None:
    done = lint(tmp_path, {importer: f"import {imported}\n"})
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout
