"""The probe: what machine this is, found without torch, without noise, and without falling over a broken driver."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vidgen import probe
from vidgen.core.machine import Device

GIB = 2**30


class NVMLError(Exception):
    """As pynvml has it."""


def refuse(*_: object) -> Any:
    raise NVMLError("the card has fallen off the bus")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A pynvml that knows one card with 20 of its 24 GiB free."""
    fake = ModuleType("pynvml")
    vars(fake).update(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(free=20 * GIB, total=24 * GIB),
        nvmlDeviceGetCudaComputeCapability=lambda handle: (8, 9),
        nvmlDeviceGetName=lambda handle: "NVIDIA RTX",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Control groups of our own: `groups("0::/a", {"a/memory.max": "1"})`."""

    def make(own: str, limits: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own, encoding="utf-8")
        for name, text in limits.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(probe, "OWN_GROUP", tmp_path / "own")
        monkeypatch.setattr(probe, "GROUPS", tmp_path / "cgroup")

    return make


def test_a_card_is_described_by_what_is_free_on_it(nvml: ModuleType) -> None:
    card = probe.cuda_card()
    assert card is not None
    assert (card.device, card.name, card.vram_gib) == (Device.CUDA, "NVIDIA RTX", 20.0)
    assert (card.compute_capability, card.memory_gib) == ((8, 9), 20.0)
    assert card.ram_gib > 0
    assert card.cores >= 1


def test_an_old_drivers_name_in_bytes_is_a_name(nvml: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "nvmlDeviceGetName", lambda handle: b"Tesla")
    card = probe.cuda_card()
    assert card is not None
    assert card.name == "Tesla"


@pytest.mark.parametrize(
    "call",
    [
        "nvmlInit",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetName",
    ],
)
def test_a_card_that_does_not_answer_is_no_card(
    call: str, nvml: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nvml, call, refuse)
    assert probe.cuda_card() is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("built", "device"), [("12.8", Device.CUDA), ("", Device.CPU)])
def test_a_card_is_used_only_by_a_torch_that_was_built_for_one(
    built: str, device: Device, nvml: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = tmp_path / "site" / "torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").touch()
    text = f"cuda: Optional[str] = '{built}'" if built else "cuda: Optional[str] = None"
    (torch / "version.py").write_text(f"__version__ = '2.13.0'\n{text}\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert probe.torch_cuda() == built
    probe.machine.cache_clear()
    assert probe.machine().device is device
    probe.machine.cache_clear()


@pytest.mark.parametrize(
    ("own", "limits", "gib"),
    [
        ("0::/\n", {"memory.max": f"{2 * GIB}\n"}, 2.0),
        ("0::/user.slice/job.scope\n", {"user.slice/job.scope/memory.max": str(GIB)}, 1.0),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": str(GIB)}, 1.0),
        ("0::/a/b\n", {"a/b/memory.max": str(GIB // 2), "a/memory.max": str(GIB)}, 0.5),
        ("4:memory:/x\n", {"memory/memory.limit_in_bytes": str(GIB)}, 1.0),
    ],
)
def test_memory_is_no_more_than_a_control_group_allows(
    own: str, limits: dict[str, str], gib: float, groups: Callable[..., None]
) -> None:
    groups(own, limits)
    assert probe.ram_gib() == gib


@pytest.mark.parametrize("text", ["max", "", "junk", str(2**63)])
def test_memory_is_the_machines_where_a_group_sets_no_limit(text: str, groups: Callable[..., None]) -> None:
    groups("0::/\n", {})
    whole = probe.ram_gib()
    groups("0::/\n", {"memory.max": text})
    assert probe.ram_gib() == whole > 0


def test_peak_memory_is_measured_from_when_it_was_forgotten() -> None:
    probe.forget_peak()
    before = probe.peak_gib(Device.CPU)
    held = bytearray(200 * 2**20)
    for page in range(0, len(held), 4096):
        held[page] = 1
    assert probe.peak_gib(Device.CPU) >= before + 0.15


def test_probing_imports_no_torch_and_prints_nothing() -> None:
    script = """
import sys
from vidgen import probe
machine = probe.machine()
assert machine.ram_gib > 0 and machine.cores > 0 and machine.name
assert probe.peak_gib(machine.device) > 0
assert not {"torch", "numpy", "diffusers"} & set(sys.modules)
"""
    root = Path(__file__).parents[1]
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
