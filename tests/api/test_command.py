"""The command line: helpful, quick, results on stdout, talk on stderr, exit codes that mean something."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from api.command import cli
from api.command_batch import moment_ms
from tests.api.conftest import ROOT


def perennial(*arguments: str, timeout_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api.command", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def commands() -> list[tuple[str, ...]]:
    """Every command's words."""
    found: list[tuple[str, ...]] = []

    def walk(group: object, words: tuple[str, ...]) -> None:
        inner = getattr(group, "commands", None)
        if inner is None:
            found.append(words)
            return
        for name, command in inner.items():
            walk(command, (*words, name))

    walk(typer.main.get_command(cli()), ())
    return found


def test_every_command_of_the_contract_that_exists_is_there() -> None:
    assert set(commands()) >= {
        ("demo",),
        ("up",),
        ("pretrain", "recommendation"),
        ("evaluate", "recommendation"),
        ("replay", "recommendation"),
        ("snapshot", "list"),
        ("snapshot", "create"),
        ("snapshot", "show"),
        ("snapshot", "verify"),
        ("snapshot", "diff"),
        ("rollback",),
        ("freeze",),
        ("resume",),
        ("promote",),
        ("erase",),
        ("reproduce",),
        ("verify",),
        ("doctor",),
    }


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_every_command_ends_with_an_example_that_its_own_parser_takes(words: tuple[str, ...]) -> None:
    group = typer.main.get_command(cli())
    command = group
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    assert command.help
    example = re.search(r"Example: (perennial .+)", command.help.replace("\n", " "))
    assert example, words
    told = example.group(1).split()
    assert tuple(told[1 : 1 + len(words)]) == words
    with command.make_context("perennial", told[1 + len(words) :], resilient_parsing=False):
        pass


def test_help_does_not_import_what_is_heavy() -> None:
    program = (
        "import sys; sys.argv = ['perennial', '--help']\n"
        "from api.command import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'numba', 'torch', 'fastapi', 'pyarrow', 'msgspec', 'redis'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[-1] == "[]"


def test_an_unknown_option_is_wrong_usage() -> None:
    refused = perennial("up", "--nonsense")
    assert refused.returncode == 2
    assert refused.stdout == ""


def test_doctor_as_json_says_what_it_found_and_what_to_do(tmp_path: Path) -> None:
    examined = perennial("doctor", "--json", "--home", str(tmp_path / "home"))
    checks = json.loads(examined.stdout)
    assert {check["name"] for check in checks} >= {"python", "packages", "disk", "log server", "gpu"}
    assert examined.returncode == (0 if all(check["ok"] for check in checks) else 1)
    assert all(check["cure"] for check in checks if not check["ok"])
    assert not (tmp_path / "home").exists()


def test_doctor_says_what_a_server_that_is_not_there_lacks(tmp_path: Path) -> None:
    examined = perennial("doctor", "--home", str(tmp_path), "--redis-url", "redis://127.0.0.1:1")
    assert examined.returncode == 1
    assert "RED  log server" in examined.stdout


def test_commands_on_an_empty_home_say_so_and_make_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    listed = perennial("snapshot", "list", "--home", str(home), "--json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    shown = perennial("snapshot", "show", "0123456789abcdef", "--home", str(home))
    assert shown.returncode == 3
    assert "no snapshot" in shown.stderr
    verified = perennial("verify", "--home", str(home))
    assert verified.returncode == 3
    assert "no log" in verified.stderr
    assert not home.exists()


def test_a_malformed_file_of_interactions_is_named_by_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "past.csv"
    path.write_text("user_id,item_id,timestamp\nu1,i1,1700000000\nu1,i2,soon\n")
    for words in (("pretrain", "recommendation", "--out", str(tmp_path / "out")), ("replay", "recommendation")):
        refused = perennial(*words, "--interactions", str(path))
        assert refused.returncode == 2, refused.stderr
        assert str(path) in refused.stderr and "timestamp" in refused.stderr and "3" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_times_on_the_command_line() -> None:
    day = 1_507_507_200_000
    for text in ("2017-10-09", "2017-10-09T00:00:00Z", "2017-10-09T02:00:00+02:00", "1507507200", "1507507200000"):
        assert moment_ms(text) == day
    with pytest.raises(typer.Exit):
        moment_ms("monday")
