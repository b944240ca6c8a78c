"""What this machine can do, measured: the limits that every figure of speed is a share of.

torch is imported inside the functions, so that a command can import this module before it is known to be needed.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Instruction sets that change which kernel is the fast one, as Linux spells them; the words shown for them.
INSTRUCTION_SETS = {
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512",
    "avx512_vnni": "avx512-vnni",
    "avx512_bf16": "avx512-bf16",
    "amx_bf16": "amx-bf16",
    "amx_int8": "amx-int8",
    "asimd": "neon",
    "sve": "sve",
    "bf16": "bf16",
    "i8mm": "i8mm",
}


def gemm_rate(
    m: int,
    k: int,
    n: int,
    dtype: str | torch.dtype = "float32",
    *,
    threads: int | None = None,
    device: str | torch.device = "cpu",
    seconds: float = 0.2,
) -> float:
    """GFLOP/s of the (m, k) x (k, n) matrix product, ``2 m k n / time`` of the fastest repeat in ``seconds``."""
    import torch

    kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    left, right = torch.full((m, k), 0.5, dtype=kind, device=device), torch.full((n, k), 0.5, dtype=kind, device=device)
    with thread_count(threads):
        taken = fastest(lambda: torch.nn.functional.linear(left, right), seconds, device)
    return 2 * m * k * n / taken / 1e9


def read_bandwidth(*, megabytes: int = 256, threads: int | None = None, seconds: float = 0.3) -> float:
    """GB/s at which memory is read: the sum of a float32 tensor far larger than the caches, fastest repeat."""
    import torch

    values = torch.full((megabytes, 2**18), 1.0)  # one row is a megabyte; filled, for untouched pages cost no reading
    with thread_count(threads):
        taken = fastest(lambda: values.sum(dim=1), seconds)
    return values.numel() * values.element_size() / taken / 1e9


@cache
def bfloat16_gain() -> float:
    """How many times faster bfloat16 matrix products are than float32 ones on this CPU; far below 1 without support."""
    rates = {"float32": 0.0, "bfloat16": 0.0}
    for _ in range(3):  # in turns and on one thread, so that other work on the machine slows both alike or neither
        for dtype, rate in rates.items():
            rates[dtype] = max(rate, gemm_rate(256, 768, 768, dtype, threads=1, seconds=0.03))
    return rates["bfloat16"] / rates["float32"]


def native_bfloat16() -> bool:
    """True if this CPU multiplies bfloat16 matrices faster than float32 ones; measured once a process."""
    return bfloat16_gain() > 1


def compute_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """The fastest type for ``device``, what ``auto`` means: bfloat16 where the hardware has it, else float32."""
    import torch

    kind = torch.device(device).type
    native = {"cpu": native_bfloat16, "cuda": torch.cuda.is_bf16_supported}
    return torch.bfloat16 if kind in native and native[kind]() else torch.float32


def fused_attention_gain() -> float | None:
    """How many times faster fused attention is than plain, 512 causal positions, one thread; None if absent."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    query = torch.full((1, 8, 512, 64), 0.1)

    def timed(backend: SDPBackend) -> float:
        with sdpa_kernel(backend), torch.inference_mode(), thread_count(1):
            attend = torch.nn.functional.scaled_dot_product_attention
            return fastest(lambda: attend(query, query, query, is_causal=True), 0.1)

    try:
        return timed(SDPBackend.MATH) / timed(SDPBackend.FLASH_ATTENTION)
    except RuntimeError:  # torch's way to say that no kernel of that kind exists here
        return None


def fastest(work: Callable[[], object], seconds: float, device: str | torch.device = "cpu") -> float:
    """Seconds of the fastest call among those that fit in ``seconds``; at least one, after one that warms up."""
    import torch

    def run() -> float:
        start = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    run()
    end = time.perf_counter() + seconds
    times = [run()]
    while time.perf_counter() < end:
        times.append(run())
    return min(times)


def best_thread_count(work: Callable[[], object], seconds: float = 0.5) -> int:
    """1 or all threads, whichever does ``work`` faster now: small models and busy machines do better with one."""
    found = {}
    for threads in sorted({1, cores()}):
        with thread_count(threads):
            found[threads] = fastest(work, seconds)
    return min(found, key=lambda threads: found[threads])


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads for a while; None leaves it as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cpu_name() -> str:
    """The processor as its maker calls it, or its architecture where the system does not say."""
    return cpu_field("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Which of ``INSTRUCTION_SETS`` the processor has; empty where the system does not list them."""
    flags = (cpu_field("flags") or cpu_field("Features")).split()
    return tuple(word for flag, word in INSTRUCTION_SETS.items() if flag in flags)


def cpu_field(name: str, path: Path = Path("/proc/cpuinfo")) -> str:
    """A field of Linux's description of the first processor; empty where there is none."""
    if not path.exists():
        return ""
    fields = (line.partition(":") for line in path.read_text("utf-8", "replace").splitlines())
    return next((value.strip() for key, _, value in fields if key.strip() == name), "")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory() -> int | None:
    """Bytes that this process may use: the machine's memory or the container's limit; None where nothing says."""
    if sys.platform == "win32":
        return None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text("ascii").strip() if limit.exists() else ""
    return min(total, int(words)) if words.isdigit() else total
