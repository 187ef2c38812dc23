"""The command line's manners: quick help, JSON everywhere, suggestions, no colours where none are wanted, and a
configuration that says where each value comes from."""

import inspect
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from api import command
from api.command import cli
from api.configuration import OTHER_VARIABLES, SERVICE, explained, settings_of, unknown_variables
from online.settings import SettingsInvalid
from tests.api.conftest import ROOT, Running
from tests.api.test_command import commands, perennial

HELP_CPU_S = 0.3
SHELLS = ("bash", "zsh", "fish")


def cpu_s(*arguments: str) -> float:
    return _cpu_s([sys.executable, "-m", "api.command", *arguments])


def bare_cpu_s() -> float:
    program = "import typer; app = typer.Typer(rich_markup_mode=None); app.command()(lambda: None); app(['--help'])"
    return _cpu_s([sys.executable, "-c", program])


def _cpu_s(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("words", [(), *commands()], ids=" ".join)
def test_help_is_quick(words: tuple[str, ...]) -> None:
    """Seconds of CPU, the best of three. Where this machine is so busy or slow that the interpreter and typer alone
    take long, what is ours may add a third to it."""
    taken = [(cpu_s(*words, "--help"), bare_cpu_s()) for _ in range(3)]
    assert min(ours for ours, _ in taken) <= max(HELP_CPU_S, 4 / 3 * min(bare for _, bare in taken))


def _command(words: tuple[str, ...]) -> Any:
    found: Any = typer.main.get_command(cli())
    for word in words:
        found = found.commands[word]
    return found


def test_every_command_that_gives_a_result_gives_it_as_json_too() -> None:
    for words in commands():
        names = [name for parameter in _command(words).params for name in parameter.opts]
        assert "--json" in names, words


def test_the_exit_codes_stand_in_the_help() -> None:
    told = " ".join(perennial("--help").stdout.split())
    for code in ("0 done", "1 what was checked is not so", "2 wrong usage", "3 something that is needed is missing"):
        assert code in told


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [(("snapsho",), "snapshot"), (("up", "--prot", "1"), "--port"), (("snapshot", "lst"), "list")],
)
def test_what_is_not_known_is_refused_with_a_suggestion(words: tuple[str, ...], suggestion: str) -> None:
    refused = perennial(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert suggestion in refused.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_offered_for_every_common_shell(shell: str) -> None:
    asked = {**os.environ, "_PERENNIAL_COMPLETE": f"source_{shell}"}
    program = [sys.executable, "-c", "from api.command import main; main()"]
    printed = subprocess.run(program, cwd=ROOT, env=asked, capture_output=True, text=True, timeout=60, check=False)
    assert "perennial" in printed.stdout and "_PERENNIAL_COMPLETE" in printed.stdout


def test_nothing_is_coloured_where_nobody_looks_or_nobody_wants_it(tmp_path: Path) -> None:
    for words in (("doctor", "--home", str(tmp_path)), ("up", "--nonsense"), ("--help",)):
        done = perennial(*words)
        assert "\x1b[" not in done.stdout + done.stderr


def test_a_setting_that_nobody_knows_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"champion_shar": 0.1}')
    for words in (
        ("config", "show", "--home", str(tmp_path / "home"), "--settings", str(path)),
        ("up", "--home", str(tmp_path / "home"), "--settings", str(path)),
    ):
        refused = perennial(*words)
        assert refused.returncode == 2, refused.stderr
        assert str(path) in refused.stderr and "did you mean `champion_share`?" in refused.stderr
    assert not (tmp_path / "home").exists()
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        settings_of(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("Object contains unknown field `mixes_tastes` - at `$.recommendation`", "did you mean `mixes_taste`?"),
        ("Object contains unknown field `rewards` - at `$.events[...]`", "did you mean `reward`?"),
        ("Object contains unknown field `mst` - at `$.caps[0]`", "did you mean `most`?"),
        ("Object contains unknown field `zzz` - at `$.caps[0]`", "known are feature, most"),
        ("Expected `int`, got `str` - at `$.seed`", "Expected `int`, got `str` - at `$.seed`"),
    ],
)
def test_a_suggestion_comes_from_the_right_object(error: str, told: str) -> None:
    assert told in explained(error)


def test_every_option_of_up_that_the_environment_may_set_is_shown_and_no_other() -> None:
    declared = {}
    for name, parameter in inspect.signature(command.up).parameters.items():
        for option in getattr(parameter.annotation, "__metadata__", ()):
            if getattr(option, "envvar", None):
                declared[name] = (option.envvar, parameter.default)
    assert set(declared) == {name for name, _, _ in SERVICE}
    for name, variable, default in SERVICE:
        assert declared[name][0] == variable
        assert name == "home" or declared[name][1] == default
    everywhere = {
        parameter.envvar
        for words in commands()
        for parameter in _command(words).params
        if getattr(parameter, "envvar", None)
    }
    assert everywhere | {"PERENNIAL_KEY"} == {variable for _, variable, _ in SERVICE} | set(OTHER_VARIABLES)
    told = list(unknown_variables({"PERENNIAL_PROT": "1", "PERENNIAL_PORT": "2", "PATH": ""}))
    assert told == ["PERENNIAL_PROT is set and means nothing: did you mean PERENNIAL_PORT?"]


def test_each_value_says_where_it_comes_from(tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "settings.json"
    path.write_text('{"champion_share": 0.2, "recommendation": {"around_window": 7}}')
    asked = ["config", "show", "--resolved", "--json", "--home", str(home), "--settings", str(path)]
    program = [sys.executable, "-m", "api.command", *asked]
    environment = {**os.environ, "PERENNIAL_PORT": "8555"}
    printed = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = {one["name"]: one for one in json.loads(printed.stdout)}
    assert found["port"] == {"name": "port", "value": "8555", "origin": "environment PERENNIAL_PORT"}
    assert found["settings.champion_share"]["origin"] == f"file {path}"
    assert found["settings.recommendation.around_window"]["value"] == 7
    assert found["settings.seed"]["origin"] == "default"
    assert not home.exists()


def test_once_the_log_has_begun_its_first_record_counts(service: Running) -> None:
    asked = perennial("config", "show", "--resolved", "--json", "--home", str(service.home))
    found = {one["name"]: one for one in json.loads(asked.stdout)}
    assert found["settings.champion_share"]["origin"] == "the log's first record"
