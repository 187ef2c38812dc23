"""What a demo starts, it ends; and it says which part failed, in that part's own words."""

import time

import pytest

from simulations.processes import Child, ChildFailed


def test_a_process_that_fails_is_named_with_its_last_words(tmp_path):
    child = Child("part", ["-c", "import sys; sys.exit('no such market')"], talk=tmp_path / "part.log")
    child.process.wait()
    with pytest.raises(ChildFailed, match=r"part ended with code 1(.|\n)*no such market"):
        child.check()
    child.stop(timeout_s=1.0)


def test_a_process_that_ends_well_raises_nothing(tmp_path):
    child = Child("part", ["-c", "print('done')"], talk=tmp_path / "part.log")
    child.process.wait()
    child.check()
    assert child.results.read() == b"done\n"
    child.stop(timeout_s=1.0)


def test_a_process_that_ignores_the_request_to_end_is_ended(tmp_path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = Child("part", ["-c", stubborn], talk=tmp_path / "part.log")
    assert child.results.readline() == b"up\n"
    began = time.monotonic()
    child.stop(timeout_s=0.3)
    assert child.process.returncode is not None
    assert time.monotonic() - began < 10.0


def test_the_newest_state_of_a_progress_line_is_what_it_said_last(tmp_path):
    talk = tmp_path / "part.log"
    child = Child("part", ["-c", "import sys; sys.stderr.write('one\\rtwo\\rthree')"], talk=talk)
    child.process.wait()
    assert child.last_line() == "three"
    child.stop(timeout_s=1.0)


def test_orders_reach_it_and_an_order_to_nobody_says_so(tmp_path):
    echo = "import sys; print(sys.stdin.readline().strip(), flush=True); sys.exit(4)"
    child = Child("part", ["-c", echo], talk=tmp_path / "part.log", orders=True)
    child.order(b"go")
    assert child.results.readline() == b"go\n"
    child.process.wait()
    with pytest.raises(ChildFailed, match="code 4"):
        child.check()
    child.stop(timeout_s=1.0)
