"""The digest says exactly what the observation says, on random states."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from random import Random

import pytest

from equivalence.backends.port import PortSystem
from equivalence.subjects.hugetlb.observation import SECTIONS, USER_SECTIONS
from equivalence.subjects.hugetlb.series import HugetlbConventions, vma_dependence
from equivalence.subjects.hugetlb.subject import HugetlbSubject
from models.schema.trace import parse_line


@pytest.fixture(scope="module")
def system() -> PortSystem:
    return PortSystem(vma_dependence().steps[0], HugetlbConventions())


def states(system: PortSystem, traces: int, length: int) -> Iterator[None]:
    for seed in range(traces):
        rng = Random(seed)
        generator = HugetlbSubject().generator()
        world = generator.world(rng)
        generator.start(world)
        system.boot(world)
        for _ in range(length):
            op = generator.op(rng)
            outcome = system.apply(op)
            generator.saw(op, outcome)
            if outcome.fatal:
                break
            yield


@pytest.mark.parametrize("relation", ["state", "user"])
def test_equal_digests_are_equal_observations_and_the_reverse(
    system: PortSystem, relation: str
) -> None:
    shown: dict[Hashable, str] = {}
    digests: dict[str, Hashable] = {}
    sections = SECTIONS if relation == "state" else USER_SECTIONS
    count = 0
    for _ in states(system, 60, 40):
        digest = system.digest("state" if relation == "state" else "user")
        observation = system.observe()
        text = repr({name: observation[name] for name in sections})
        assert shown.setdefault(digest, text) == text
        assert digests.setdefault(text, digest) == digest
        count += 1
    assert count > 2_000
    assert len(shown) > 1_000


def test_observing_changes_nothing(system: PortSystem) -> None:
    for _ in states(system, 5, 30):
        digest = system.digest("state")
        key = system.state_key()
        assert system.observe() == system.observe()
        assert system.digest("state") == digest
        assert system.state_key() == key


def test_folios_are_numbered_by_first_use_not_by_frame(system: PortSystem) -> None:
    system.boot({"nodes": 1, "nr_hugepages": 2})
    first = system.observe()["lists"]["0"]["hugepage_freelists"]
    assert sorted(first[0]) == [0, 1]
    for line in ("set_nr_hugepages n=0", "set_nr_hugepages n=1"):
        system.apply(parse_line(line))
        system.digest("state")
    assert system.observe()["lists"]["0"]["hugepage_freelists"][0] == (2,)


def test_words_are_classes_in_the_key_only(system: PortSystem) -> None:
    keys: list[tuple[Hashable, Hashable]] = []
    for page in (0, 0, 0):
        system.boot({"nodes": 1, "nr_hugepages": 2})
        for line in (
            "spawn id=A",
            "mmap proc=A map=m1 type=private len=1",
            *["spawn id=B"] * len(keys),
        ):
            system.apply(parse_line(line))
        system.apply(parse_line("kill proc=B"))
        system.apply(parse_line(f"touch_write proc=A map=m1 page={page}"))
        keys.append((system.state_key(), system.digest("state")))
    assert keys[1][1] != keys[2][1]
    assert keys[1][0] == keys[2][0]


def test_a_snapshot_comes_back(system: PortSystem) -> None:
    for count, _ in enumerate(states(system, 3, 25)):
        if count % 10:
            continue
        digest = system.digest("state")
        saved = system.snapshot()
        system.apply(parse_line("set_nr_hugepages n=9"))
        system.apply(parse_line("spawn id=F"))
        system.restore(saved)
        assert system.digest("state") == digest
        system.apply(parse_line("spawn id=F"))
        system.restore(saved)
        assert system.digest("state") == digest
