"""`--tier native` and `calibrate --native` from options to messages; ports play the C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from equivalence.backends.native.errors import BuildError, SeriesError, TreeError
from equivalence.backends.native.mails import PatchSeries
from equivalence.backends.native.series import MAX_BYTES
from equivalence.backends.port import PortSystem
from equivalence.cli import native, planting
from equivalence.cli.calibrate import step_of
from equivalence.cli.choose import DEFAULT_SERIES, Chosen, choose, port_tier
from equivalence.cli.errors import InputError, MachineStop
from equivalence.cli.run import replay_command
from equivalence.subjects.hugetlb.calibration import PortReplayer
from equivalence.subjects.hugetlb.mutation import ASSERTIONS_IN_C
from equivalence.subjects.hugetlb.recording import dump
from equivalence.subjects.hugetlb.series import BUILT_IN, STABLE
from equivalence.subjects.hugetlb.sides import PortSide
from tests.equivalence.cli.program import Program
from tests.equivalence.cli.scripted import NAME, recording

NATIVE = ("run", "--tier", "native")


class Tree:
    """A tree that is opened and not looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root


class Hosted:
    """A tier that notes how it was made; step 0 cannot be built if ``OBSTACLE`` says so."""

    OBSTACLE: str | None = None
    made: list[Hosted] = []  # noqa: RUF012 -- a test gives each its own

    def __init__(
        self,
        tree: Tree,
        patches: object,
        *,
        allow_build_files: bool,
        base: str,
        reasons: dict[str, str],
        sanitize: frozenset[str],
    ) -> None:
        self.reasons, self.sanitize = reasons, sanitize
        self.how = (tree.root, patches, allow_build_files, base)
        self.closed = False
        self.patches = ()
        self.made.append(self)

    def obstacle(self, step: int) -> str | None:
        """Whether it is built."""
        return self.OBSTACLE

    def close(self) -> None:
        """Let go of what was built."""
        self.closed = True


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> type[Hosted]:
    """Series and trees are taken as they come, and nothing is built."""

    class Mine(Hosted):
        made: list[Hosted] = []  # noqa: RUF012 -- one list for each test

    def read(series: object, data: bytes | None = None) -> object:
        return ("patches", series, data)

    monkeypatch.setattr(native, "open_tree", Tree)
    monkeypatch.setattr(native, "read_series", read)
    monkeypatch.setattr(native, "check_base", lambda tree, patches: "checked")
    monkeypatch.setattr(native, "series_from_range", lambda root, commits: (root, commits))
    monkeypatch.setattr(native, "base_of", lambda tree, commits: (Tree(Path("base")), "of range"))
    monkeypatch.setattr(native, "NativeTier", Mine)
    return Mine


def chosen(series: str, **options: Any) -> Chosen:
    return choose(series, tier="native", tree=Path("linux"), **options)


def test_a_series_of_patches_is_hosted(hosted: type[Hosted]) -> None:
    found = chosen("fix.mbox")
    (tier,) = hosted.made
    assert tier.how == (Path("linux"), ("patches", Path("fix.mbox"), None), False, "checked")
    words = ("--tier", "native", "--tree", "linux", "--series", "fix.mbox")
    assert found.hosting == words
    assert replay_command(found, "user") == (
        f"equivcheck replay {' '.join(words)} --relation user {{trace}}"
    )


def test_standard_input_is_read_within_bounds(
    hosted: type[Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Stdin:
        class buffer:  # noqa: N801 -- as of sys.stdin
            @staticmethod
            def read(size: int) -> bytes:
                asked.append(size)
                return b"mail"

    monkeypatch.setattr("sys.stdin", Stdin)
    chosen("-", allow_build_files=True)
    assert hosted.made[0].how == (Path("linux"), ("patches", "-", b"mail"), True, "checked")
    assert asked == [MAX_BYTES + 1]


def test_a_range_of_commits_starts_from_its_own_base(hosted: type[Hosted]) -> None:
    found = chosen(DEFAULT_SERIES, commits="v1..v2", allow_build_files=True)
    assert hosted.made[0].how == (Path("base"), (Path("linux"), "v1..v2"), True, "of range")
    assert found.hosting[-3:] == ("--range", "v1..v2", "--allow-build-files")


def test_a_tree_alone_is_a_series_without_patches(hosted: type[Hosted]) -> None:
    native.choose_native(None, Path("linux"), None, allow_build_files=False, alone=True)
    (tier,) = hosted.made
    assert tier.how == (Path("linux"), PatchSeries("the tree alone", ()), False, "")


def test_bugs_are_planted_in_the_c_of_a_tree(
    hosted: type[Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planting, "NativeTier", Hosted)
    made: list[tuple[object, ...]] = []
    monkeypatch.setattr(planting, "NativePlanter", lambda *given: made.append(given))
    found = planting.planting_of(chosen("fix.mbox"), 24)
    assert found is not None
    assert made == [(hosted.made[0], 24, ASSERTIONS_IN_C)]
    assert "region_add" in found.core
    assert found.worlds == ()


def test_reasons_why_code_cannot_run_are_given(hosted: type[Hosted]) -> None:
    point = "mm/hugetlb.c:12 to 14"
    found = chosen("fix.mbox", unreachable=(f"{point}=the check before it = enough",))
    assert hosted.made[0].reasons == {point: "the check before it = enough"}
    assert found.hosting[-2:] == ("--unreachable", f"{point}=the check before it = enough")
    for wrong in ("mm/hugetlb.c:12", "=why", "mm/hugetlb.c:12= "):
        with pytest.raises(click.UsageError, match="expected POINT=REASON"):
            chosen("fix.mbox", unreachable=(wrong,))


def test_checks_of_the_compiler_are_chosen(hosted: type[Hosted]) -> None:
    found = chosen("fix.mbox", sanitize="undefined,address")
    assert hosted.made[0].sanitize == {"address", "undefined"}
    assert found.hosting[-2:] == ("--sanitize", "undefined,address")
    with pytest.raises(click.UsageError, match="expected address or undefined"):
        chosen("fix.mbox", sanitize="thread")


def test_a_base_that_cannot_be_built_is_told_and_let_go(hosted: type[Hosted]) -> None:
    hosted.OBSTACLE = "no Kconfig"
    with pytest.raises(InputError, match="linux: this tree cannot be hosted: no Kconfig"):
        chosen("fix.mbox")
    assert hosted.made[0].closed


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (TreeError("linux: no Makefile"), InputError, "linux: no Makefile"),
        (SeriesError("fix.mbox: no patch"), InputError, "fix.mbox: no patch"),
        (PermissionError(13, "Permission denied", "linux/mm"), MachineStop, "linux/mm: Permission"),
        (OSError(28, "No space left on device"), MachineStop, r"the cache \(XDG_CACHE_HOME\) or"),
    ],
)
def test_what_cannot_be_read_is_one_message(
    error: Exception,
    kind: type[Exception],
    message: str,
    hosted: type[Hosted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(root: Path) -> Tree:
        raise error

    monkeypatch.setattr(native, "open_tree", fails)
    with pytest.raises(kind, match=message):
        chosen("fix.mbox")


def test_options_that_do_not_fit(equivcheck: Program) -> None:
    say = equivcheck.refuses
    assert "needs the kernel's sources: --tree DIR" in say(*NATIVE)
    either = "needs either --series MBOX|DIR|- or --range A..B"
    assert either in say(*NATIVE, "--tree", "x")
    assert either in say(*NATIVE, "--tree", "x", "--series", "y", "--range", "a..b")
    message = "--allow-build-files, --unreachable and --sanitize are for --tier native"
    for option in (("--tree", "x"), ("--range", "a..b"), ("--allow-build-files",)):
        assert message in say("run", *option)
    assert "--native and --tree DIR go together" in say("calibrate", "--native")
    assert "--native and --tree DIR go together" in say("calibrate", "--tree", "x")
    assert "and not with --live" in say("calibrate", "--native", "--live", "--tree", "x")


class C(PortSystem):
    """A port that plays the C; which step, and what it cost."""

    step_number = -1
    closed = 0

    def __init__(self, built: object, *, seconds: float) -> None:
        assert built == ("built", Path("linux"))
        assert seconds > 0
        series = BUILT_IN[STABLE]()
        made = port_tier(series).system(len(series.patches), evidence=False)
        assert isinstance(made, PortSystem)
        self.__dict__.update(vars(made))

    def close(self) -> None:
        """End it."""
        type(self).closed += 1


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> type[C]:
    """The last step of the recorded series in place of the C."""

    class Mine(C):
        closed = 0

    monkeypatch.setattr(native, "open_tree", Tree)
    monkeypatch.setattr(native, "build", lambda tree: ("built", tree.root))
    monkeypatch.setattr(native, "check_boot", lambda image: None)
    monkeypatch.setattr(native, "NativeSystem", Mine)
    monkeypatch.setattr(native, "NativeSide", PortSide)
    monkeypatch.setattr(native, "NativeReplayer", PortReplayer)
    return Mine


COMMAND = ("calibrate", "--native", "--tree", "linux", "--ops", "100")


def test_a_port_that_agrees_with_the_c(equivcheck: Program, played: type[C]) -> None:
    done = equivcheck(*COMMAND)
    assert done.status == 0, done.err
    assert "100 operations in" in done.out
    assert "no disagreement" in done.out
    assert played.closed == 1
    found = json.loads(equivcheck(*COMMAND, "--format", "json").out)
    assert found["schema"] == "equivcheck/calibration/1"
    assert found["operations"] == 100
    assert found["disagreements"] == []
    assert found["not_compared"]


@pytest.fixture
def otherwise(played: type[C], monkeypatch: pytest.MonkeyPatch) -> None:
    """The C refuses what the port does."""
    apply = PortSystem.apply

    def refuse(self: C, op: Any) -> Any:
        done = apply(self, op)
        return done._replace(ret=-1, errno="EINTR") if op.kind == "spawn" else done

    monkeypatch.setattr(played, "apply", refuse)


def test_a_port_that_differs_from_the_c(equivcheck: Program, otherwise: None) -> None:
    done = equivcheck(*COMMAND)
    assert done.status == 1
    assert "outcome.ret: port 0, C -1" in done.out
    assert "minimal trace:" in done.out
    done = equivcheck(*COMMAND, "--format", "json")
    assert done.status == 1
    found = json.loads(done.out)
    one = next(one for one in found["disagreements"] if one["field"] == "outcome.errno")
    assert (one["recorded"], one["computed"]) == ("EINTR", None)
    assert one["trace"].rstrip().splitlines()[one["op"] + 2].startswith("spawn")


def test_a_fault_of_ours_is_no_disagreement(
    equivcheck: Program, played: type[C], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(self: C, op: Any) -> Any:
        msg = "worker went away"
        raise RuntimeError(msg)

    monkeypatch.setattr(played, "apply", raises)
    done = equivcheck(*COMMAND)
    assert done.status == 4
    assert "a fault of equivcheck: " in done.out
    assert "worker went away" in " ".join(done.out.split())
    assert played.closed == 1


def test_recordings_are_replayed_on_the_c(equivcheck: Program, played: type[C]) -> None:
    Path(f"{NAME}.jsonl").write_text(dump(recording()))
    done = equivcheck("calibrate", f"{NAME}.jsonl", "--native", "--tree", "linux")
    assert done.status == 0, done.err
    assert "1 of 1 recordings agree with the C of linux" in " ".join(done.out.split())
    assert played.closed == 1


def test_recordings_that_the_c_contradicts(equivcheck: Program, otherwise: None) -> None:
    Path(f"{NAME}.jsonl").write_text(dump(recording()))
    done = equivcheck("calibrate", f"{NAME}.jsonl", "--native", "--tree", "linux")
    assert done.status == 1
    assert f"disagrees: {NAME}: spawn (operation 1)" in done.out
    assert "replay: " not in done.out, "a recording is replayed on steps"


def test_a_tree_that_does_not_build_is_bad_input(
    equivcheck: Program, played: type[C], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(tree: object) -> object:
        msg = "mm/hugetlb.c does not compile"
        raise BuildError(msg)

    monkeypatch.setattr(native, "build", fails)
    assert "mm/hugetlb.c does not compile" in equivcheck.refuses(*COMMAND)


def test_the_last_step_is_the_default() -> None:
    assert step_of(STABLE, None).number == len(BUILT_IN[STABLE]().patches)
