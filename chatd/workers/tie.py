"""A worker does not outlive its supervisor: nobody would start it again, drain it, or know of it."""

import ctypes
import os
import signal
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> bool:
    """Let the kernel send SIGTERM when the thread of the parent ends that started this; False if that is over already.

    Only Linux can. Elsewhere workers stay when the supervisor is killed, and must be ended by hand.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent
