"""The probe: what machine this is, found without torch, without noise, and without falling over a broken driver."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import vidgen
from vidgen import probe
from vidgen.catalog import gpus
from vidgen.core.machine import Device
from vidgen.probe import amd, host, nvidia

HALVES = host.halves
"""As it is: in tests every processor multiplies bf16."""

GIB = 2**30


class NVMLError(Exception):
    """As pynvml has it."""


def refuse(*_: object) -> Any:
    raise NVMLError("the card has fallen off the bus")


@dataclass
class Fake:
    """A card as NVML shows it: its memory in GiB, its slices, the programs on it."""

    name: str = "NVIDIA RTX"
    free: float = 20
    total: float = 24
    uuid: str = "GPU-0"
    slices: "list[Fake]" = field(default_factory=list)
    running: list[tuple[int, int]] = field(default_factory=list)


def answering(cards: list[Fake]) -> dict[str, Any]:
    """NVML's calls for these cards. A slice knows no compute capability, as of old drivers."""

    def capability(card: Fake) -> tuple[int, int]:
        return (8, 9) if card in cards else refuse()

    def by_uuid(uuid: str) -> Fake:
        return next(part for card in cards for part in (card, *card.slices) if part.uuid == uuid)

    return {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: cards[index] if index < len(cards) else refuse(),
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetUUID": lambda card: card.uuid,
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(free=card.free * GIB, total=card.total * GIB),
        "nvmlDeviceGetCudaComputeCapability": capability,
        "nvmlDeviceGetName": lambda card: card.name,
        "nvmlDeviceGetMigMode": lambda card: (1, 1) if card.slices else (0, 0),
        "nvmlDeviceGetMigDeviceHandleByIndex": lambda card, number: card.slices[number],
        "nvmlDeviceGetComputeRunningProcesses": lambda card: [
            SimpleNamespace(pid=pid, usedGpuMemory=gib * GIB) for pid, gib in card.running
        ],
    }


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """The cards of a machine: one, with 20 of its 24 GiB free. Tests may change the list."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return [Fake()]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, cards: list[Fake]) -> ModuleType:
    """A pynvml that knows these cards."""
    fake = ModuleType("pynvml")
    vars(fake).update(answering(cards))
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
        monkeypatch.setattr(probe.memory, "OWN_GROUP", tmp_path / "own")
        monkeypatch.setattr(probe.memory, "GROUPS", tmp_path / "cgroup")

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


def test_a_driver_that_is_broken_is_told_and_one_that_is_not_there_is_not(
    nvml: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "nvmlInit", refuse)
    assert nvidia.card().notes == (
        "the graphics driver does not answer (the card has fallen off the bus): the processor is used; try nvidia-smi",
    )
    for absent in (9, 12):
        error = NVMLError("no library")
        vars(error)["value"] = absent
        monkeypatch.setattr(nvml, "nvmlInit", lambda error=error: raising(error))
        assert nvidia.card() == nvidia.Seen()


def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("visible", "name"),
    [("", None), ("-1", None), ("0", "first"), ("1", "second"), ("1,0", "second"), ("GPU-b", "second"), ("9", None)],
)
def test_of_several_cards_the_one_that_torch_would_use_is_taken(
    visible: str, name: str | None, nvml: ModuleType, cards: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards[:] = [Fake(name="first", uuid="GPU-a1"), Fake(name="second", uuid="GPU-b2")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = probe.cuda_card()
    assert (found.name if found else None) == name
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_another_card_with_more_room_is_named_with_the_words_that_take_it(nvml: ModuleType, cards: list[Fake]) -> None:
    cards[:] = [Fake(free=2), Fake(free=23)]
    found = probe.cuda_card()
    assert found is not None
    assert (found.vram_gib, found.total_gib) == (2, 24)
    assert found.notes == ("card 1 has 23.0 GiB free, this one 2.0; to use it: CUDA_VISIBLE_DEVICES=1 vidgen ...",)
    cards[:] = [Fake(free=23), Fake(free=23.5)]
    assert nvidia.card().notes == ()


def test_of_a_card_that_is_split_the_first_slice_is_taken(nvml: ModuleType, cards: list[Fake]) -> None:
    parts = [Fake(name="a slice", free=9, total=10, uuid="MIG-1"), Fake(name="another", free=4, total=5, uuid="MIG-2")]
    cards[:] = [Fake(name="whole", free=40, total=40, slices=parts)]
    found = probe.cuda_card()
    assert found is not None
    assert (found.name, found.vram_gib, found.compute_capability) == ("a slice", 9, (8, 9))


def test_a_slice_is_taken_by_its_name(nvml: ModuleType, cards: list[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    cards[:] = [Fake(slices=[Fake(uuid="MIG-1"), Fake(name="another", free=4, uuid="MIG-2")])]
    monkeypatch.setattr(nvml, "nvmlDeviceGetCudaComputeCapability", lambda card: (9, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
    found = nvidia.card()
    assert (found.gpu.name if found.gpu else "", found.free_gib) == ("another", 4)


def test_other_programs_on_the_card_are_named(nvml: ModuleType, cards: list[Fake]) -> None:
    cards[0].running = [(os.getpid(), 1), (2**22 + 1, 3), (2**22 + 2, 2)]
    [said] = nvidia.card().notes
    assert said.startswith("other programs hold 5.0 GiB of the card: a program (pid 4194305)")
    cards[0].running = [(os.getpid(), 1)]
    assert nvidia.card().notes == ()


def test_an_old_library_that_lacks_the_newer_calls_will_do(nvml: ModuleType) -> None:
    for name in ("nvmlDeviceGetCount", "nvmlDeviceGetMigMode", "nvmlDeviceGetComputeRunningProcesses"):
        delattr(nvml, name)
    found = probe.cuda_card()
    assert found is not None
    assert found.notes == ()


@pytest.fixture
def amd_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A kernel that shows another maker's card, and one of AMD's with 12 of its 16 GiB free."""
    for number, (vendor, total, used) in enumerate((("0x8086", 0, 0), ("0x1002", 16, 4))):
        place = tmp_path / "drm" / f"card{number}" / "device"
        place.mkdir(parents=True)
        (place / "vendor").write_text(f"{vendor}\n")
        (place / "mem_info_vram_total").write_text(f"{total * GIB}\n")
        (place / "mem_info_vram_used").write_text(f"{used * GIB}\n")
    (tmp_path / "drm" / "card1" / "device" / "product_name").write_text("AMD Radeon\n")
    (tmp_path / "kfd").mkdir()
    monkeypatch.setattr(amd, "CARDS", tmp_path / "drm")
    monkeypatch.setattr(amd, "KFD", tmp_path / "kfd")
    for name in amd.VISIBLE:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_an_amd_card_is_found_by_what_the_kernel_says(amd_cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "torch_cuda", lambda: "")
    monkeypatch.setattr(probe, "torch_hip", lambda: "6.4")
    probe.machine.cache_clear()
    found = probe.machine()
    probe.machine.cache_clear()
    assert (found.device, found.name, found.vram_gib, found.total_gib) == (Device.CUDA, "AMD Radeon", 12, 16)


def test_an_amd_card_that_is_hidden_or_has_no_driver_is_none(amd_cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("HIP_VISIBLE_DEVICES", "1"), ("HIP_VISIBLE_DEVICES", ""), ("CUDA_VISIBLE_DEVICES", "-1")):
        with monkeypatch.context() as patched:
            patched.setenv(name, text)
            assert amd.card() == nvidia.Seen()
    (amd_cards / "kfd").rmdir()
    assert amd.card() == nvidia.Seen()


def test_what_is_free_of_the_hosts_memory_is_no_more_than_a_control_group_leaves(
    groups: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   8388608 kB\n")
    monkeypatch.setattr(probe.memory, "MEMINFO", tmp_path / "meminfo")
    groups("0::/\n", {})
    assert probe.memory.available_gib() == 8.0
    limits = {
        "memory.max": str(4 * GIB),
        "memory.current": str(3 * GIB),
        "memory.stat": f"anon 1\ninactive_file {GIB}\n",
    }
    groups("0::/\n", limits)
    assert probe.memory.available_gib() == 2.0
    monkeypatch.setattr(probe.memory, "MEMINFO", tmp_path / "none")
    groups("0::/\n", {"memory.max": "max", "memory.stat": ""})
    assert probe.memory.available_gib() == 0.0


def test_a_machine_with_a_card_that_it_does_not_have() -> None:
    found = probe.imagined(gpu=gpus.gpu("RTX 4090"), ram_gib=32)
    assert (found.device, found.vram_gib, found.ram_gib, found.host_gib) == (Device.CUDA, 24.0, 32, 32)
    assert found.rates is not None
    assert probe.imagined(gpu=gpus.gpu("4090"), vram_gib=12).vram_gib == 12
    assert probe.imagined(vram_gib=12).rates is None
    assert probe.imagined(vram_gib=0).device is not Device.CUDA


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
    assert probe.memory.ram_gib() == gib


@pytest.mark.parametrize("text", ["max", "", "junk", str(2**63)])
def test_memory_is_the_machines_where_a_group_sets_no_limit(text: str, groups: Callable[..., None]) -> None:
    groups("0::/\n", {})
    whole = probe.memory.ram_gib()
    groups("0::/\n", {"memory.max": text})
    assert probe.memory.ram_gib() == whole > 0


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


@pytest.mark.parametrize(
    ("said", "halves"),
    [
        ("model name\t: a Zen 3\nflags\t\t: sse4_2 avx2 fma\n", False),
        ("model name\t: a Zen 4\nflags\t\t: avx2 avx512f avx512bw avx512_bf16\n", True),
        ("model name\t: a Sierra\nflags\t\t: avx2 avx_ne_convert\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("Features\t: fp asimd\n", False),
        ("", True),
    ],
)
def test_whether_a_processor_multiplies_bf16_itself_is_what_the_system_says_of_it(
    said: str, halves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("cpuinfo").write_text(said, encoding="utf-8")
    monkeypatch.setattr("vidgen.probe.host.CPUINFO", Path("cpuinfo"))
    assert HALVES() is halves


def test_bf16_on_a_processor_that_does_not_multiply_it_is_told_to_be_slow() -> None:
    here = replace(vidgen.prepare("t2v", prompt="a red circle")[0].plan.machine, halves=False)
    [job] = vidgen.prepare("t2v", prompt="a red circle", model="pocket", precision="bf16", machine=here)
    assert job.notes == (f"{here.name} does not multiply bf16 itself: it takes many times as long as --precision fp32",)
    assert vidgen.prepare("t2v", prompt="a red circle", model="pocket", machine=here)[0].notes == ()
