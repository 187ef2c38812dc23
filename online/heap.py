"""What a fork costs: it copies the table of every page that a process has, while that stands still.

Memory that was freed and that the allocator keeps is given back: what a load or a fold from the log's beginning has
left behind makes the learner's pause several times as long. What is in use goes into large pages, of which each counts
as one instead of 512. Arrays of the state lie there from the start; but whatever is written while a copy lives comes
back as small pages.
"""

import ctypes
import gc
import mmap
import os
from collections.abc import Iterator

import numpy as np

LARGE_PAGE = 1 << 21
MADV_COLLAPSE = 25  # Linux 6.1


def give_back() -> bool:
    """Collect, and hand over what is free; whether anything was. Another C library than glibc has no such call."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    return bool(trim(0))


def into_large_pages() -> Iterator[bool]:
    """Gather this process's memory in large pages, one with each step, a millisecond or less: what it has as it begins,
    in the heap and beside it, where at least half of a large page is in use. Whether the step made one. Elsewhere than
    on Linux there are no steps.
    """
    try:
        with open("/proc/self/maps", encoding="ascii") as maps:
            lines = maps.readlines()
        advise = ctypes.CDLL(None).madvise
        pages = open("/proc/self/pagemap", "rb", buffering=0)
    except (OSError, AttributeError):
        return
    with pages:
        for first, last in _own(lines):
            for at in range(-(-first // LARGE_PAGE) * LARGE_PAGE, last - LARGE_PAGE + 1, LARGE_PAGE):
                entries = os.pread(pages.fileno(), LARGE_PAGE // mmap.PAGESIZE * 8, at // mmap.PAGESIZE * 8)
                used = np.count_nonzero(np.frombuffer(entries, np.uint64) >> np.uint64(63))
                if 2 * used * mmap.PAGESIZE >= LARGE_PAGE:
                    yield advise(ctypes.c_void_p(at), ctypes.c_size_t(LARGE_PAGE), MADV_COLLAPSE) == 0


def _own(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Where memory lies that no file stands behind and nobody else writes, out of /proc/self/maps."""
    for line in lines:
        place, access, _, _, _, *name = line.split()
        if access == "rw-p" and name in ([], ["[heap]"]):
            first, last = place.split("-")
            yield int(first, 16), int(last, 16)
