"""The documents do what they say: every block is run, and whatever is declared has a word about itself."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api import documentation
from api.documentation import PAGES, Undocumented, calls, commands, errors, metrics, settings
from api.problems import CATALOGUE
from tests.api.conftest import ROOT, Running

# What is set up elsewhere than in a shell.
SHOWN_ONLY = {"nginx", "mermaid"}


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / name).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found and {language for language, _ in found} <= {"sh", "python"} | SHOWN_ONLY
    return [(language, text) for language, text in found if language not in SHOWN_ONLY]


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart.md", "operations.md", "tutorial.md", "comparison.md"])
def test_every_block_of_a_document_runs(name: str, tmp_path: Path) -> None:
    commands_folder = tmp_path / "bin"
    commands_folder.mkdir()
    program = commands_folder / "perennial"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m api.command "$@"\n')
    program.chmod(0o755)
    port = free_port()
    lines = ["set -eum", "trap 'kill %1 2>/dev/null && wait %1 || true' EXIT"]
    for number, (language, text) in enumerate(blocks(name), 1):
        text = text.replace("8080", port)
        lines.append(f"echo 'block {number}' >&2")
        if language == "python":
            (tmp_path / f"block-{number}.py").write_text(text)
            text = f'"{sys.executable}" block-{number}.py'
        lines.append(text)
    environment = {
        **os.environ,
        "PATH": f"{commands_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    if name == "quickstart.md":
        replayed = json.loads((tmp_path / "replay.json").read_text())
        assert set(replayed["variants"]) == {"frozen", "frozen+state", "continued"}


def test_whatever_is_declared_is_described() -> None:
    for name, page in PAGES.items():
        assert len(page()) > 500, name
    assert all(f"`{code}`" in errors() for code in CATALOGUE)
    assert "## perennial keys create" in commands() and "`PERENNIAL_HOME`" in commands()
    assert "## POST /v1/events" in calls() and "Scope: `feedback`" in calls()
    assert "`recommendation.mixing_rate`" in settings()


def test_every_metric_of_a_running_service_is_in_the_reference(service: Running) -> None:
    text = service.client.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    described = set(re.findall(r"^\| `(\w+)` \|", metrics(), re.MULTILINE))
    assert {name.removesuffix("_total").removesuffix("_created") for name in names} <= described


def test_a_setting_without_a_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "_SETTINGS", {})
    with pytest.raises(Undocumented, match="setting seed"):
        settings()
