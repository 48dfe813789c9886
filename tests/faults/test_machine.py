"""Machines that are not well: no driver, a broken one, a card in parts, a card that has fallen off, odd memory."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ANSWER
from tests.faults import refused
from tests.faults.score import Scorecard, fault, some
from vidgen import probe

CALLS = (
    "nvmlInit",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetName",
)
SOUND = "doctor and plan end with their documented code and no traceback; the processor serves"

ABSENT = fault("machine", 48, "NVML is not installed", SOUND)
BROKEN = {call: fault("machine", 48, f"the driver fails at {call}", SOUND) for call in CALLS}
PARTS = fault("machine", 48, "a card that is split (MIG)", SOUND)
FALLEN = fault("machine", 48, "a card that has fallen off the bus", SOUND)
ODD = fault("machine", 48, "a driver that answers nonsense", SOUND)
MEMORY = fault("machine", 12, "a control group that says nonsense of memory", SOUND)
SMALL = fault("machine", 12, "a machine with almost no memory", "exit code 5 in the plan, with the numbers")
BUILD = fault("machine", 48, "a card, and a torch that was built for none", "doctor says so; the processor serves")

GIB = 2**30
ERRORS = (
    "Driver Not Loaded",
    "GPU is lost",
    "Insufficient Permissions",
    "Not Supported",
    "Unknown Error",
    "RM has detected",
)


class NVMLError(Exception):
    """As pynvml has it."""


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing of the machine is remembered."""
    probe.machine.cache_clear()
    yield
    probe.machine.cache_clear()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A driver that knows one card with 20 of its 24 GiB free, and a torch that would use it."""
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
    monkeypatch.setattr(probe, "torch_cuda", lambda: "12.8")
    return fake


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: object) -> Any:
        raise error

    return call


def looked_at(vidgen: ANSWER) -> None:
    """Assert that whatever looks at the machine ends well, and takes the processor."""
    for words in some(2, (["doctor"], ["doctor", "--json"], ["plan", "t2v", "x"], ["plan", "t2v", "x", "--json"])):
        probe.machine.cache_clear()
        answer = vidgen(*words)
        assert answer.code in (0, 1) if words[0] == "doctor" else answer.code == 0, answer.err
        assert "Traceback" not in answer.err + answer.out
        assert "bug of ours" not in answer.err
        assert "NVIDIA" not in answer.out, answer.out


@pytest.mark.parametrize("call", CALLS)
def test_the_driver_fails(
    call: str, card: Scorecard, nvml: ModuleType, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said in some(2, ERRORS):
        monkeypatch.setattr(nvml, call, raising(NVMLError(said)))
        with card.round(BROKEN[call]):
            looked_at(vidgen)


def test_nvml_is_not_installed(
    card: Scorecard, nvml: ModuleType, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with card.round(ABSENT):
        looked_at(vidgen)


def test_a_card_that_is_split(
    card: Scorecard, nvml: ModuleType, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said in some(1, ("Insufficient Permissions", "Not Supported")):
        monkeypatch.setattr(nvml, "nvmlDeviceGetMemoryInfo", raising(NVMLError(said)))
        with card.round(PARTS):
            looked_at(vidgen)


def test_a_card_that_falls_off_between_two_looks(
    card: Scorecard, nvml: ModuleType, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vidgen("plan", "t2v", "x").code == 0
    for call in CALLS:
        with monkeypatch.context() as patched, card.round(FALLEN):
            patched.setattr(nvml, call, raising(NVMLError("GPU is lost")))
            looked_at(vidgen)


NONSENSE: tuple[tuple[str, object], ...] = (
    ("nvmlDeviceGetMemoryInfo", SimpleNamespace(free=0, total=0)),
    ("nvmlDeviceGetMemoryInfo", SimpleNamespace(free=-1, total=24 * GIB)),
    ("nvmlDeviceGetMemoryInfo", SimpleNamespace(free=2**64 - 1, total=2**64 - 1)),
    ("nvmlDeviceGetName", b"Tesla \xff\xfe"),
    ("nvmlDeviceGetName", "\x1b[31mTesla\x07"),
    ("nvmlDeviceGetName", ""),
    ("nvmlDeviceGetCudaComputeCapability", (0, 0)),
)


def test_a_driver_that_answers_nonsense(
    card: Scorecard, nvml: ModuleType, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call, answer in NONSENSE:
        with monkeypatch.context() as patched, card.round(ODD):
            patched.setattr(nvml, call, lambda handle, given=answer: given)
            for words in (["doctor"], ["plan", "t2v", "x"]):
                probe.machine.cache_clear()
                said = vidgen(*words)
                assert said.code in (0, 1, 5), said.err
                assert "Traceback" not in said.err + said.out
                assert "\x1b" not in said.err


@pytest.mark.parametrize("text", ["max", "", "junk", "-1", "0", str(2**70), "1e9", "\x00", "4096"])
def test_a_control_group_that_says_nonsense(
    text: str, card: Scorecard, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text("0::/\n")
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(probe.memory, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(probe.memory, "GROUPS", tmp_path)
    with card.round(MEMORY):
        answer = vidgen("plan", "t2v", "x")
        assert answer.code in (0, 5), answer.err
        assert "Traceback" not in answer.err


def test_a_machine_with_almost_no_memory(card: Scorecard, vidgen: ANSWER) -> None:
    for ram in some(1, ("0", "0.001", "0.5", "1")):
        for model in some(1, ("ltx-video-13b", "ltx-video-2b")):
            with card.round(SMALL) as trial, refused.nothing_written():
                answer = vidgen("plan", "t2v", "x", "--model", model, "--ram", ram, "--vram", "0")
                refused.check(trial, answer, 5, "GiB are free")


def test_a_torch_that_was_built_for_no_card(
    card: Scorecard, nvml: ModuleType, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "torch_cuda", lambda: "")
    with card.round(BUILD):
        answer = vidgen("doctor")
        assert "Traceback" not in answer.err
        assert "NVIDIA RTX" in answer.out
        assert vidgen("plan", "t2v", "x").code == 0
