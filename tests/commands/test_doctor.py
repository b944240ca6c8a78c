from __future__ import annotations

import json

import pytest

from glassformer.commands import doctor
from glassformer.core import machine


@pytest.fixture
def quick(monkeypatch):
    """Tiny measurements: these tests are about what is said, not about how fast this machine is."""
    monkeypatch.setattr(doctor, "SHAPES", ((8, 8, 8), (8, 16, 8)))
    monkeypatch.setattr(doctor, "BFLOAT16_SHAPES", ((8, 8, 8),))
    monkeypatch.setattr(doctor, "SECONDS", 0.001)
    monkeypatch.setattr(machine, "read_bandwidth", lambda threads: 12.5 * threads)
    monkeypatch.setattr(machine, "bfloat16_gain", lambda: 0.25)
    monkeypatch.setattr(machine, "fused_attention_gain", lambda: 2.0)


def test_json_is_one_object_with_everything(quick, capsys):
    doctor.main(json=True)
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {
        "versions", "cpu", "devices", "compiler", "attention", "gemm_gflops", "read_gb_per_s", "bfloat16",
    }  # fmt: skip
    assert set(report["versions"]) == {"glassformer", "python", "torch", "numpy", "tokenizers", "safetensors"}
    assert report["devices"][0] == "cpu"
    assert "explicit" in report["attention"]["kernels"]
    assert report["attention"]["fused_gain"] == 2.0
    assert report["bfloat16"] == {"gain": 0.25, "worth_choosing": False}
    rates = report["gemm_gflops"]["float32, 1 thread"]
    assert set(rates) == {"best", "8x8x8", "8x16x8"}
    assert rates["best"] == max(rates["8x8x8"], rates["8x16x8"]) > 0
    assert set(report["gemm_gflops"]["bfloat16, 1 thread"]) == {"best", "8x8x8"}
    assert report["read_gb_per_s"]["1 thread"] == 12.5


def test_text_names_the_machine_and_advises_on_bfloat16(quick, capsys):
    doctor.main()
    out, err = capsys.readouterr()
    rows = {line[:26].strip(): line[26:].strip() for line in out.splitlines()}
    assert machine.cpu_name() in out
    assert "12.5 on 1 thread" in out
    assert "not worth choosing: 0.25x float32" in out
    assert "torch's fused kernel is 2.0x the plain one" in out
    assert len(rows) == len(out.splitlines())
    assert "loading torch" in err


def test_what_is_absent_is_said():
    assert doctor.say_fused(None) == "no fused kernel"
    assert doctor.say_bfloat16(3.0).startswith("worth choosing: 3.0x float32")
    assert doctor.plural(1) == "1 thread"
    assert doctor.plural(4) == "4 threads"
    assert doctor.say_load({"load": None, "cores": 2}) == ""
    assert doctor.say_load({"load": 0.5, "cores": 2}) == ""
    assert "load 1.5" in doctor.say_load({"load": 1.5, "cores": 2})


def test_a_machine_that_says_little_still_has_a_report(quick, capsys, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    doctor.main()
    out = capsys.readouterr().out
    assert "unknown" in out
    assert "none: torch.compile is not available on the CPU" in out
