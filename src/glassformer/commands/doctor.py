"""Say what this machine has and how fast it is, measured in a few seconds."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from typing import Any

import glassformer
from glassformer.core import discovery, machine
from glassformer.core.terminal import Progress, print_json

#: (rows, inner, columns) of the products that small models spend their time on.
SHAPES = ((1024, 128, 512), (1024, 384, 1536), (1024, 768, 3072))
#: The largest is left out for bfloat16: without hardware for it, it alone would take seconds.
BFLOAT16_SHAPES = SHAPES[:2]
SECONDS = 0.12
PACKAGES = ("torch", "numpy", "tokenizers", "safetensors")


def main(*, json: bool = False) -> None:
    """Say what this machine has and how fast it is: versions, processor, kernels, matrix products, memory.

    Args:
        json: Print one JSON object.
    """
    with Progress() as progress:
        report = examine(progress)
    print_json(report) if json else print(render(report))


def examine(progress: Progress) -> dict[str, Any]:
    """Everything doctor knows, ready for JSON; rates in GFLOP/s and GB/s, memory in bytes."""
    progress.update("loading torch ...")
    cpu = processor()
    counts = sorted({1, cpu["threads"]})
    progress.update("measuring matrix products ...")
    products = gemm(counts)
    progress.update("measuring memory and attention ...")
    return {
        "versions": versions(),
        "cpu": cpu,
        "devices": devices(),
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"),
        "attention": attention(),
        "gemm_gflops": products,
        "read_gb_per_s": {plural(count): machine.read_bandwidth(threads=count) for count in counts},
        "bfloat16": {"gain": machine.bfloat16_gain(), "worth_choosing": machine.native_bfloat16()},
    }


def versions() -> dict[str, str]:
    installed = {name: version(name) for name in PACKAGES}
    return {"glassformer": glassformer.__version__, "python": platform.python_version(), **installed}


def processor() -> dict[str, Any]:
    import torch

    return {
        "name": machine.cpu_name(),
        "instruction_sets": list(machine.instruction_sets()),
        "torch_uses": torch.backends.cpu.get_cpu_capability(),
        "cores": machine.cores(),
        "threads": torch.get_num_threads(),
        "memory": machine.memory(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def devices() -> list[str]:
    import torch

    found = [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    return ["cpu", *found, *(["mps"] if torch.backends.mps.is_available() else [])]


def gemm(counts: list[int]) -> dict[str, dict[str, float]]:
    """float32 and bfloat16 products by number of threads: the rate of each shape and the best."""
    table = {}
    for dtype, shapes in (("float32", SHAPES), ("bfloat16", BFLOAT16_SHAPES)):
        for count in counts:
            rates = {"x".join(map(str, shape)): gemm_rate(shape, dtype, count) for shape in shapes}
            table[f"{dtype}, {plural(count)}"] = {"best": max(rates.values()), **rates}
    return table


def gemm_rate(shape: tuple[int, int, int], dtype: str, threads: int) -> float:
    return machine.gemm_rate(*shape, dtype, threads=threads, seconds=SECONDS)


def attention() -> dict[str, Any]:
    """The kernels that exist, and whether torch's fused one works here."""
    return {"kernels": list(discovery.names("parts.kernels")), "fused_gain": machine.fused_attention_gain()}


def plural(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def render(report: dict[str, Any]) -> str:
    """The report as lines for a person."""
    cpu, attends = report["cpu"], report["attention"]
    memory = "unknown" if cpu["memory"] is None else f"{cpu['memory'] / 2**30:.1f} GiB"
    rows = [
        ("versions", " · ".join(f"{name} {number}" for name, number in report["versions"].items())),
        ("processor", f"{cpu['name']} · {' '.join(cpu['instruction_sets'])} · torch uses {cpu['torch_uses']}"),
        ("cores", f"{cpu['cores']}, torch uses {plural(cpu['threads'])}{say_load(cpu)}"),
        ("memory", memory),
        ("devices", " · ".join(report["devices"])),
        ("compiler", report["compiler"] or "none: torch.compile is not available on the CPU"),
        ("attention", f"{' · '.join(attends['kernels'])} · {say_fused(attends['fused_gain'])}"),
        *((f"GFLOP/s {name}", say_rates(rates)) for name, rates in report["gemm_gflops"].items()),
        ("GB/s read", " · ".join(f"{rate:.1f} on {name}" for name, rate in report["read_gb_per_s"].items())),
        ("bfloat16", say_bfloat16(report["bfloat16"]["gain"])),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def say_load(cpu: dict[str, Any]) -> str:
    busy = cpu["load"] is not None and cpu["load"] > cpu["cores"] / 2
    return f" · busy with other work (load {cpu['load']:.1f}): the rates below are too low" if busy else ""


def say_fused(gain: float | None) -> str:
    return "no fused kernel" if gain is None else f"torch's fused kernel is {gain:.1f}x the plain one at 512 positions"


def say_rates(rates: dict[str, float]) -> str:
    shapes = " · ".join(f"{rate:.0f} at {shape}" for shape, rate in rates.items() if shape != "best")
    return f"{rates['best']:.0f} best · {shapes}"


def say_bfloat16(gain: float) -> str:
    if gain > 1:
        return f"worth choosing: {gain:.1f}x float32 (--dtype bfloat16)"
    return f"not worth choosing: {gain:.2f}x float32; bfloat16 files are computed in float32"
