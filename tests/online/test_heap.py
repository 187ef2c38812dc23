"""What was freed is given back: a process that is forked holds no more small pages than it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
from online.heap import give_back

def resident_kib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

kept = [[bytes(1_000 + k) for k in range(1_000)] for _ in range(300)]
held = resident_kib()
kept = [some[::100] for some in kept]  # one of a hundred small pieces stays: the allocator keeps the rest
before = resident_kib()
given = give_back()
print(given, held, before, resident_kib())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read it from")
def test_what_was_freed_is_given_back_to_the_kernel() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    given, held, before, after = done.stdout.split()
    if given == "False":
        pytest.skip("this C library gives nothing back when asked")
    assert int(held) > 400_000
    assert int(after) < 0.7 * int(before), done.stdout


GATHERED = """
import os
import numpy as np
from online.heap import into_large_pages

def resident_kib():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])

some = [np.arange(k, k + 1_000_000) for k in range(8)]  # 8 MB each
small = [bytes([k % 251]) * 900 for k in range(20_000)]
hole = np.zeros(4_000_000)  # 32 MB that nobody has written
before = resident_kib()
steps = list(into_large_pages())
child = os.fork()
if child == 0:
    os._exit(0 if all((one == np.arange(k, k + 1_000_000)).all() for k, one in enumerate(some)) else 1)
code = os.waitpid(child, 0)[1]
same = all((one == np.arange(k, k + 1_000_000)).all() for k, one in enumerate(some))
same = same and all(one == bytes([k % 251]) * 900 for k, one in enumerate(small))
print(any(steps), same and code == 0, resident_kib() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="no /proc to read it from")
def test_memory_is_gathered_in_large_pages_as_it_is_and_only_what_is_in_use() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run([sys.executable, "-c", GATHERED], cwd=root, capture_output=True, text=True, check=True)
    made, same, more = done.stdout.split()
    assert same == "True"
    if made == "False":
        pytest.skip("this kernel gathers no pages when asked")
    assert int(more) < 16_000, done.stdout  # what is not in use stays so
