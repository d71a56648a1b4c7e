"""What of HugeTLB is mutated, and which mutants are known to behave like the original."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from types import FunctionType
from typing import Final

import models.hugetlb.accounting
import models.hugetlb.region
import models.hugetlb.reserve
import models.hugetlb.subpool
import models.hugetlb.vma_resv

#: The reservation core: reservation maps, what vmas make of them, subpools, the global count.
CORE_MODULES: Final = (
    models.hugetlb.region,
    models.hugetlb.vma_resv,
    models.hugetlb.subpool,
    models.hugetlb.accounting,
    models.hugetlb.reserve,
)
EQUIVALENT: Final = "equivalent_mutants.toml"


def core() -> tuple[str, ...]:
    """The functions of the reservation core by symbol name."""
    return tuple(
        name
        for module in CORE_MODULES
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and hasattr(value, "__ported__")
    )


def explained() -> Mapping[str, str]:
    """Mutants that cannot be told from the original: key -> the reason, from the committed file."""
    text = files(__package__).joinpath(EQUIVALENT).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for entry in tomllib.loads(text).get("equivalent", []):
        for mutant in entry["mutants"]:
            found[mutant] = entry["reason"]
    return found
