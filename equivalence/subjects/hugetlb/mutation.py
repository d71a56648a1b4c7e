"""What of HugeTLB is mutated, and which mutants are known to behave like the original."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import FunctionType
from typing import Final

import models.hugetlb.accounting
import models.hugetlb.folio_list
import models.hugetlb.pool
import models.hugetlb.region
import models.hugetlb.reserve
import models.hugetlb.subpool
import models.hugetlb.surplus
import models.hugetlb.vma_resv

#: The reservation core: reservation maps, what vmas make of them, subpools, the global count, the
#: free lists, surplus pages, the size of the pool.
CORE_MODULES: Final = (
    models.hugetlb.region,
    models.hugetlb.vma_resv,
    models.hugetlb.subpool,
    models.hugetlb.accounting,
    models.hugetlb.reserve,
    models.hugetlb.folio_list,
    models.hugetlb.surplus,
    models.hugetlb.pool,
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


def explained(key: str) -> str | None:
    """Why a mutant cannot be told from the original, from the committed file; None: not known."""
    named, patterns = reasons()
    reason = named.get(key)
    if reason is None:
        reason = next((text for pattern, text in patterns if pattern.fullmatch(key)), None)
    return reason


@cache
def reasons() -> tuple[Mapping[str, str], tuple[tuple[re.Pattern[str], str], ...]]:
    """Mutants named one by one, and patterns of their keys, each with the reason."""
    text = files(__package__).joinpath(EQUIVALENT).read_text(encoding="utf-8")
    named: dict[str, str] = {}
    patterns: list[tuple[re.Pattern[str], str]] = []
    for entry in tomllib.loads(text)["equivalent"]:
        named.update(dict.fromkeys(entry.get("mutants", ()), entry["reason"]))
        patterns += [(re.compile(one), entry["reason"]) for one in entry.get("patterns", ())]
    return named, tuple(patterns)
