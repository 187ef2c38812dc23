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
