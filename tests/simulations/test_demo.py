"""The demo, whole: every stage in its own process, over HTTP, from nothing to the three reasons."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def demo(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "api.command", "demo", "--home", str(home), "--port", "0", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def processes_of(folder: Path) -> list[int]:
    """Processes that were started with a path under that folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if str(folder).encode() in command:
                found.append(int(entry.name))
    return found


def nothing_is_left(folder: Path, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while processes_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow
def test_without_a_terminal_the_demo_ends_by_itself_with_its_table_its_report_and_its_reasons(tmp_path):
    running = demo(tmp_path, "--minutes", "0.3")
    try:
        out, talk = running.communicate(timeout=500)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, talk
    for words in (
        "frozen",
        "continued",
        "share of the best slate's reward",
        "held-out viewers",
        "takings, % of the exact",
    ):
        assert words in out
    last = out.strip().splitlines()[-3:]
    assert [line.split(":")[0] for line in last] == ["efficiency", "generalization", "reproducibility"]
    assert "the same digest" in last[2]
    assert "not measured" not in out
    assert "fares took" in last[1]
    assert not re.search(r"takings, % of the exact optimum's +-", out)
    (report,) = tmp_path.glob("*/report.html")
    text = report.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert not re.search(r"https?://", text)
    assert "Booking curves" in text and "Fares over time" in text
    for stage in ("history", "pretrain", "pretrain fares", "up", "viewers", "fold again", "lag"):
        assert re.search(rf"^{stage} +[0-9.]+ s", talk, flags=re.MULTILINE), stage
    assert nothing_is_left(tmp_path, within_s=10.0)


@pytest.mark.slow
def test_an_interrupt_in_the_middle_leaves_no_process_behind(tmp_path):
    running = demo(tmp_path, "--minutes", "0.3")
    try:
        deadline = time.monotonic() + 120.0
        while not list(tmp_path.glob("*/pretrain.log")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(processes_of(tmp_path)) > 1, "the demo and its first stage run"
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130
    assert nothing_is_left(tmp_path, within_s=10.0)
