"""Freed memory goes back to the system, where little of it is the point.

glibc keeps freed pieces of up to 32 MB in its heap, where they lie between others: a run that computes activations
again to save memory would hold up to twice of what it uses.
"""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD, _BYTES = -3, 1 << 20


def give_back() -> None:
    """From now on pieces of a megabyte and more are mapped each for itself, and unmapped when they are freed."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and needs none
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, _BYTES)
