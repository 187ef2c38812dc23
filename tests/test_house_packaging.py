"""One distribution with four packages, the same versions on every machine, and make targets that exist."""

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def locked(name: str) -> dict[str, str]:
    """package -> its lines in the lock."""
    text = (ROOT / name).read_text("utf-8")
    starts = list(re.finditer(r"^([a-z0-9-]+)==", text, re.MULTILINE))
    assert starts
    ends = [start.start() for start in starts[1:]] + [len(text)]
    found: dict[str, str] = {}
    for start, end in zip(starts, ends, strict=True):
        found[start[1]] = found.get(start[1], "") + text[start.start() : end]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_version_has_hashes(lock):
    assert [name for name, lines in locked(lock).items() if "--hash=sha256:" not in lines] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_registry(lock):
    text = (ROOT / lock).read_text("utf-8")
    assert "://" not in text and "index" not in text


def test_the_lock_satisfies_every_declared_dependency():
    everything = [(name, "requirements.lock") for name in PROJECT["dependencies"]]
    everything += [(name, "requirements-dev.lock") for name in PROJECT["optional-dependencies"]["dev"]]
    for line, lock in everything:
        requirement = Requirement(line)
        versions = re.findall(rf"^{requirement.name}==(\S+)", locked(lock)[requirement.name], re.MULTILINE)
        assert versions
        assert all(requirement.specifier.contains(version) for version in versions), line


def third_party_imports(*folders: str) -> set[str]:
    own = {*sys.stdlib_module_names, "online", "batch", "api", "simulations"}
    found: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - own


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    comes_with = {"starlette": "fastapi", "llvmlite": "numba", "torch": "batch", "opentelemetry": "otel"}
    named_in_a_setting = {"uvloop", "httptools"}  # uvicorn imports them
    declared = {Requirement(line).name.replace("-", "_") for line in PROJECT["dependencies"]}
    imported = third_party_imports("online", "batch", "api", "simulations")
    assert imported - declared - set(comes_with) == set()
    assert declared - imported == named_in_a_setting


def test_the_lock_for_development_holds_the_same_versions_as_the_lock_for_serving():
    serving, development = (
        set(re.findall(r"^([a-z0-9-]+==\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)) for lock in LOCKS
    )
    assert serving < development


def test_torch_is_not_in_the_lock_because_its_build_is_the_machines_choice():
    assert all("torch" not in locked(lock) for lock in LOCKS)


@pytest.mark.parametrize(
    ("version", "fits"), [("2.13.0", True), ("2.13.0+cpu", True), ("2.14.0", False), ("2.9.1", False)]
)
def test_the_range_of_torch_ends_at_the_newest_version_that_was_tried(version, fits):
    specifier: SpecifierSet = Requirement(PROJECT["optional-dependencies"]["batch"][0]).specifier
    assert (Version(version) in specifier) is fits


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "clean", "help", "setup"])
def test_make_knows_the_target(target):
    said = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_an_up_to_date_environment_is_not_installed_again(tmp_path):
    """With a stamp newer than what it is made from, make setup runs nothing."""
    for name in ("Makefile", "pyproject.toml", "requirements-dev.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        os.utime(tmp_path / name, (1_000, 1_000))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    os.utime(tmp_path / ".venv" / ".installed", (2_000, 2_000))
    assert subprocess.run(["make", "-q", "setup"], cwd=tmp_path, check=False).returncode == 0
    os.utime(tmp_path / "pyproject.toml", (3_000, 3_000))
    assert subprocess.run(["make", "-q", "setup"], cwd=tmp_path, check=False).returncode == 1
    said = subprocess.run(["make", "-n", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--require-hashes" in said.stdout


def test_the_check_before_a_change_is_a_program_that_runs_tests_and_linters():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    text = script.read_text("utf-8")
    assert "make test" in text
    assert "make lint" in text
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_the_command_line_is_installed_from_the_place_that_the_project_says():
    module, _, function = PROJECT["scripts"]["perennial"].partition(":")
    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text("utf-8")
    assert f"def {function}(" in source


def test_the_built_distribution_holds_every_file_of_the_packages(tmp_path):
    packages = ("online", "batch", "api", "simulations")
    listed = subprocess.run(["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [name for name in listed.stdout.split() if (ROOT / name).exists()]
    if not files:
        pytest.skip("not a git checkout")
    for name in [*files, "pyproject.toml", "README.md", "LICENSE"]:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, "."]
    subprocess.run(build, cwd=tmp_path / "tree", check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("perennial-*.whl"))) as wheel:
        held = set(wheel.namelist())
    assert sorted(set(files) - held) == []


def test_the_licence_is_the_whole_apache_licence():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 10_000
