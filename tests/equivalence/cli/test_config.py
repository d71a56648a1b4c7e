"""`equivcheck.toml`, `equivcheck config` and completion."""

from pathlib import Path

import pytest

from models.schema.result import parse_result
from tests.equivalence.cli.program import AGREEING, GREEDY, Program


def write(text: str, name: str = "equivcheck.toml") -> None:
    Path(name).write_text(text)


def rows(out: str) -> dict[str, tuple[str, str]]:
    """Option -> (value, origin)."""
    cells = [line.split(maxsplit=2) for line in out.splitlines()[3:]]
    return {cell[0]: (cell[1], cell[2]) for cell in cells if len(cell) == 3}


def test_values_and_where_they_come_from(equivcheck: Program) -> None:
    write('# ours\nprofile = "ci"\njobs = 2\n\n[run]\njobs = 3\ntime-limit = "5m"\n')
    done = equivcheck("config", "run", "--seed", "7")
    assert done.status == 0
    assert done.out.startswith("equivcheck run; configuration: equivcheck.toml\n")
    found = rows(done.out)
    assert found["profile"] == ("ci", "equivcheck.toml:2")
    assert found["jobs"] == ("3", "equivcheck.toml:6")
    assert found["time-limit"] == ("300s", "equivcheck.toml:7")
    assert found["seed"] == ("7", "command line")
    assert found["against"] == ("both", "default")
    assert found["trust-trailers"] == ("false", "default")
    assert found["tree"] == ("(none)", "default")
    assert max(map(len, done.out.splitlines())) <= 80


def test_run_is_what_config_speaks_of_by_default(equivcheck: Program) -> None:
    write("trust-trailers = true\nexpect-change = [1, 2]\n")
    done = equivcheck("config", "--jobs", "1")
    assert done.out.startswith("equivcheck run;")
    assert rows(done.out)["expect-change"] == ("1,2", "equivcheck.toml:2")
    assert rows(done.out)["trust-trailers"] == ("true", "equivcheck.toml:1")
    assert rows(done.out)["jobs"] == ("1", "command line")


def test_a_command_that_needs_a_file_shows_its_settings_without_one(equivcheck: Program) -> None:
    write('relation = "user"\nprofile = "ci"\n')
    assert rows(equivcheck("config", "replay").out)["relation"] == ("user", "equivcheck.toml:1")
    done = equivcheck("config", "replay", "some.trace", "--relation", "effects")
    assert rows(done.out)["relation"] == ("effects", "command line")
    assert "profile" not in done.out


def test_a_run_takes_them_and_the_command_line_wins(equivcheck: Program) -> None:
    write('ops = 700\nseed = 3\nformat = ["json", "ktap"]\n[run]\nout = "found"\n')
    equivcheck("run", *AGREEING, "--seed", "4", "--jobs", "1", "--against", "previous")
    result = parse_result(Path("found/result.json").read_text())
    assert (result.seed, result.limits.ops) == (4, 700)
    assert "--ops 700" in result.command
    assert Path("found/result.ktap").is_file()
    assert not Path("found/report.html").exists()


def test_paths_are_meant_from_the_files_folder(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write('store = "kept"\nseries = "mine.py"\n')
    Path("below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    found = rows(equivcheck("config").out)
    assert found["store"] == ("../kept", "../equivcheck.toml:1")
    assert found["series"] == ("../mine.py", "../equivcheck.toml:2")
    write('series = "stable-6.12.y"\n', "other.toml")
    found = rows(equivcheck("--config", "other.toml", "config").out)
    assert found["series"] == ("stable-6.12.y", "other.toml:1")


def test_a_pyproject_is_read_if_it_speaks_of_us(equivcheck: Program) -> None:
    write('[tool.other]\nprofile = "x"\n', "pyproject.toml")
    assert "configuration: none" in equivcheck("config").out
    write("[tool\n", "pyproject.toml")
    assert "configuration: none" in equivcheck("config").out
    write('[tool.equivcheck]\nseed = 1\n[ tool . equivcheck.run ]\n"seed" = 2\n', "pyproject.toml")
    assert rows(equivcheck("config").out)["seed"] == ("2", "pyproject.toml:4")
    assert rows(equivcheck("config", "mutate").out)["seed"] == ("1", "pyproject.toml:2")
    write("seed = 5\n")
    assert rows(equivcheck("config").out)["seed"] == ("5", "equivcheck.toml:1")
    assert rows(equivcheck("--no-config", "config").out)["seed"] == ("0", "default")


def test_the_search_ends_at_the_top_of_a_repository(
    equivcheck: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("seed = 5\n")
    Path("repo/.git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    assert "configuration: none" in equivcheck("config").out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('\nprofle = "ci"', ":2: profle: no command has such an option; did you mean 'profile'?"),
        ("[run]\nstep = 1", ":2: step: 'equivcheck run' has no such option; did you mean"),
        ("[walk]\nops = 1", ":1: [walk]: there is no such command"),
        ("\n\n[runn]", ":3: [runn]: there is no such command; did you mean 'run'?"),
        ('jobs = "many"', ":1: jobs: 'many' is not a valid integer range."),
        ("jobs = 0", ":1: jobs: 0 is not in the range 1<=x<=256."),
        ("jobs = true", ":1: jobs: got True, expected integer range"),
        ('profile = "fast"', ":1: profile: 'fast' is not one of 'quick', 'ci', 'nightly'."),
        ("trust-trailers = 1", ":1: trust-trailers: got 1, expected true or false"),
        ('format = ["html", "pdf"]', ":1: format: 'pdf' is no format"),
        ("expect-change = [[1]]", ":1: expect-change: got [[1]], expected integer range"),
        ('time-limit = "soon"', ":1: time-limit: 'soon' is no duration"),
        ("run.ops = 0", ": ops: 0 is not in the range x>=1."),
        ("jobs = ]", ": not TOML: Invalid value (at line 1, column 8)"),
        ("x = " + "[" * 5000, ": not TOML: "),
        ("# " + "x" * (1 << 20), ": more than 1048576 bytes, expected a few settings"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(
    equivcheck: Program, text: str, message: str
) -> None:
    write(text)
    assert f"equivcheck.toml{message}" in equivcheck.refuses("run", *GREEDY)


def test_files_that_cannot_be_read(equivcheck: Program) -> None:
    assert "none.toml: cannot be read" in equivcheck.refuses("--config", "none.toml", "config")
    Path("bytes.toml").write_bytes(b"\xff\xfe")
    assert "bytes.toml: not TOML" in equivcheck.refuses("--config", "bytes.toml", "config")
    write("[tool]\nequivcheck = 3\n", "pyproject.toml")
    message = equivcheck.refuses("--config", "pyproject.toml", "config")
    assert "[tool.equivcheck] is 3, expected a table" in message
    message = equivcheck.refuses("--config", "pyproject.toml", "--no-config", "config")
    assert "--config and --no-config exclude each other" in message


def test_no_such_command_in_the_words_of_the_program(equivcheck: Program) -> None:
    assert "No such command 'walk'" in equivcheck.refuses("config", "walk")
    assert "'many' is not a valid integer" in equivcheck.refuses("config", "run", "--jobs", "many")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(equivcheck: Program, shell: str) -> None:
    done = equivcheck("completion", shell)
    assert done.status == 0
    assert f"_EQUIVCHECK_COMPLETE={shell}_complete" in done.out


def test_what_is_completed(equivcheck: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_EQUIVCHECK_COMPLETE", "bash_complete")

    def words(line: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        done = equivcheck()
        assert done.status == 0
        return done.out.splitlines()

    assert "plain,calibrate" in words("equivcheck c")
    assert words("equivcheck run --series v") == ["plain,vma-dependence", "file,v"]
    assert "plain,nightly" in words("equivcheck run --profile n")
    assert "plain,--tasks" in words("equivcheck run --ta")
    assert not any(words("equivcheck walk x"))
    write("jobs = 'many'\n")
    assert "plain,--tasks" in words("equivcheck run --ta")


def test_the_documented_help_is_the_programs_own() -> None:
    from tools.cli_docs import DOCS, text

    assert DOCS.read_text() == text(), "python -m tools.cli_docs writes it"
