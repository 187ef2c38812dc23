"""Memory that was freed and that the allocator keeps, given back to the kernel.

A fork copies the table of every page that a process has, in pages of 4 KiB: what a load or a fold from the log's
beginning has left behind makes the learner's pause several times as long. Arrays of the state lie in large pages.
"""

import ctypes
import gc


def give_back() -> bool:
    """Collect, and hand over what is free; whether anything was. Another C library than glibc has no such call."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    return bool(trim(0))
