from __future__ import annotations

import sys
import time

import pytest
import torch

from glassformer.core import machine


@pytest.mark.parametrize("dtype", ["float32", torch.float32, "bfloat16"])
def test_gemm_rate_is_the_work_over_the_fastest_time(monkeypatch, dtype):
    monkeypatch.setattr(machine, "fastest", lambda work, seconds, device: work().numel() * 1e-6)
    assert machine.gemm_rate(4, 8, 16, dtype) == pytest.approx(2 * 4 * 8 * 16 / (4 * 16 * 1e-6) / 1e9)


def test_read_bandwidth_counts_every_byte_once(monkeypatch):
    monkeypatch.setattr(machine, "fastest", lambda work, seconds: float(work().sum()) * 1e-9)
    assert machine.read_bandwidth(megabytes=2) == pytest.approx(4.0)  # 2**19 ones summed, 4 bytes each


def test_fastest_is_positive_and_ends():
    calls = []
    assert machine.fastest(lambda: calls.append(1), 0.0) > 0
    assert len(calls) == 2  # one to warm up, one that counts


def test_thread_count_is_put_back_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), machine.thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
        _ = 1 / 0
    with machine.thread_count(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_bfloat16_is_chosen_only_where_the_probe_finds_it(monkeypatch):
    for gain, dtype in ((0.1, torch.float32), (2.0, torch.bfloat16)):
        monkeypatch.setattr(machine, "bfloat16_gain", lambda gain=gain: gain)
        assert machine.native_bfloat16() == (gain > 1)
        assert machine.compute_dtype("cpu") == dtype
    assert machine.compute_dtype("meta") == torch.float32


def test_bfloat16_gain_compares_two_rates_and_is_measured_once(monkeypatch):
    rates = []

    def rate(m, k, n, dtype, **_):
        rates.append(dtype)
        return {"float32": 4.0, "bfloat16": 2.0}[dtype]

    monkeypatch.setattr(machine, "gemm_rate", rate)
    machine.bfloat16_gain.cache_clear()
    try:
        assert machine.bfloat16_gain() == machine.bfloat16_gain() == 0.5
    finally:
        machine.bfloat16_gain.cache_clear()
    assert rates == ["float32", "bfloat16"] * 3


def test_fused_attention_gain_is_a_ratio_or_absent(monkeypatch):
    monkeypatch.setattr(machine, "fastest", lambda work, seconds: float(work().numel()))
    assert machine.fused_attention_gain() == 1.0

    def refuse(work, seconds):
        raise RuntimeError("No available kernel. Aborting execution.")

    monkeypatch.setattr(machine, "fastest", refuse)
    assert machine.fused_attention_gain() is None


def test_processor_fields_are_read_where_the_system_lists_them(tmp_path, monkeypatch):
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Toaster 9000\nflags\t\t: fpu avx2 amx_bf16\n", "utf-8")
    assert machine.cpu_field("model name", listing) == "Toaster 9000"
    assert machine.cpu_field("Features", listing) == ""
    assert machine.cpu_field("flags", tmp_path / "absent") == ""
    monkeypatch.setattr(machine, "cpu_field", lambda name: "fpu avx2 amx_bf16" if name == "flags" else "")
    assert machine.instruction_sets() == ("avx2", "amx-bf16")
    assert machine.cpu_name(), "there is always a word for it"


def test_this_machine_has_cores_and_memory():
    assert machine.cores() >= 1
    if sys.platform != "win32":
        assert machine.memory() > 2**28


def test_the_faster_number_of_threads_is_chosen() -> None:
    waits = {1: 0.02, machine.cores(): 0.001}
    chosen = machine.best_thread_count(lambda: time.sleep(waits[torch.get_num_threads()]), seconds=0.01)
    assert chosen == machine.cores()
