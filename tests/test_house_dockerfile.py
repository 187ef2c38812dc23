"""The Dockerfile against the tree: there is no container engine where the tests run, but every path that it copies,
every command that it runs and every promise that it makes can be held against what is there.
"""

import fnmatch
import importlib.metadata
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) in order, continued lines joined, comments left out."""
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [(word.upper(), rest.strip()) for word, rest in re.findall(r"^\s*(\S+)\s+(.+)$", text, re.MULTILINE)]


def of(instruction: str) -> list[str]:
    return [rest for word, rest in instructions() if word == instruction]


def copied_from_the_tree() -> list[str]:
    copies = [shlex.split(rest) for rest in of("COPY")]
    return [source for copy in copies if not copy[0].startswith("--from") for source in copy[:-1]]


def commands() -> list[list[str]]:
    """Everything that is executed, in either form, as words."""
    run = [words for rest in of("RUN") for words in (shlex.split(part) for part in rest.split("&&"))]
    health = [json.loads(rest[rest.index("CMD") + 3 :]) for rest in of("HEALTHCHECK")]
    return [*run, *health, json.loads(of("ENTRYPOINT")[0]) + json.loads(of("CMD")[0])]


@pytest.mark.parametrize("source", copied_from_the_tree())
def test_every_copied_path_is_in_the_tree_and_not_ignored(source):
    assert (ROOT / source).exists()
    ignored = False
    for rule in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if rule and not rule.startswith("#") and fnmatch.fnmatch(source, rule.lstrip("!")):
            ignored = not rule.startswith("!")
    assert not ignored


def test_all_packages_of_the_distribution_are_copied():
    packages = {pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages <= set(copied_from_the_tree())


def test_what_the_build_of_the_distribution_reads_is_copied():
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= set(copied_from_the_tree())


def test_every_command_is_one_that_is_there():
    known = {"perennial", "python", "useradd"}
    for words in commands():
        program = Path(words[0])
        assert program.name in known, words
        if program.is_absolute():
            assert program.parent == Path("/opt/perennial/bin")


def test_every_python_module_that_is_run_is_pip_or_venv():
    modules = [words[words.index("-m") + 1] for words in commands() if "-m" in words]
    assert set(modules) == {"pip", "venv"}


def test_every_file_that_pip_installs_from_was_copied_before():
    copied: set[str] = set()
    for word, rest in instructions():
        if word == "COPY":
            copied |= set(shlex.split(rest)[:-1])
        elif word == "RUN" and "pip install" in rest:
            words = shlex.split(rest)
            wanted = [words[words.index("-r") + 1]] if "-r" in words else ["pyproject.toml", "online", "api"]
            assert set(wanted) <= copied


def test_the_command_of_the_image_is_one_of_the_command_line_with_options_that_it_has():
    import typer.main

    from api.command import cli

    entry, *arguments = json.loads(of("ENTRYPOINT")[0]) + json.loads(of("CMD")[0])
    scripts = importlib.metadata.entry_points(group="console_scripts", name=entry)
    assert {script.value for script in scripts} == {PROJECT["project"]["scripts"][entry]}
    subcommand = typer.main.get_command(cli()).commands[arguments[0]]
    options = {name for parameter in subcommand.params for name in parameter.opts}
    assert {argument for argument in arguments[1:] if argument.startswith("--")} <= options


def test_every_setting_of_the_environment_is_one_that_something_reads():
    names = {name for rest in of("ENV") for name in re.findall(r"(\w+)=", rest)}
    own = {name for name in names if name.startswith("PERENNIAL_")}
    source = "".join(path.read_text("utf-8") for path in (ROOT / "api").glob("*.py"))
    assert own
    assert all(f'"{name}"' in source for name in own)
    assert names - own == {
        "PIP_DISABLE_PIP_VERSION_CHECK",
        "PIP_NO_CACHE_DIR",
        "PATH",
        "NUMBA_CACHE_DIR",
        "PYTHONUNBUFFERED",
    }


def test_the_health_check_asks_a_path_that_the_service_has_on_the_port_it_listens_on():
    check = " ".join(json.loads(of("HEALTHCHECK")[0].split("CMD", 1)[1]))
    compile(json.loads(of("HEALTHCHECK")[0].split("CMD", 1)[1])[2], "health check", "exec")
    port, path = re.search(r"127\.0\.0\.1:(\d+)(/\w+)", check).groups()
    assert port in of("EXPOSE")
    command = json.loads(of("CMD")[0])
    assert command[command.index("--port") + 1] == port
    assert any(f'"{path}"' in source.read_text("utf-8") for source in (ROOT / "api").glob("*.py"))


def test_the_image_does_not_run_as_root_stops_softly_and_ends_in_its_own_stage():
    assert of("USER") == ["10001"]
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert len(of("FROM")) == 2
    last_root = max(at for at, (word, _) in enumerate(instructions()) if word == "RUN")
    assert last_root < [word for word, _ in instructions()].index("USER")


def test_the_image_says_its_version_and_licence():
    labels = of("LABEL")[0]
    assert f'licenses="{PROJECT["project"]["license"]}"' in labels
    assert f"VERSION={PROJECT['project']['version']}" in of("ARG")
