"""Becomes the server, after asking the kernel to end it with its parent. Run as a script by `server.py`.

    python -I -S launch.py PARENT_PID PROGRAM ARGUMENT...

A step of its own, since code between fork and exec in a process with threads may hang. Without the request, a
parent that is killed leaves its server behind. The kernel ties the request to the thread that started this
process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died before the request was made
            sys.exit("the parent is gone")
    os.execv(program, sys.argv[2:])
