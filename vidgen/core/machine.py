"""What machine we have."""

from dataclasses import dataclass
from enum import StrEnum


class Device(StrEnum):
    """Where tensors live."""

    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What a card can do at most, as its maker publishes it, and its link to the host.

    `tflops` of dense bf16 and of fp8 (0: none), GB a second of its own memory and of the link.
    """

    tflops: float
    fp8_tflops: float = 0.0
    memory_gbs: float
    link_gbs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A card: its name as its driver gives it, its memory, and what it can do where that is known."""

    name: str
    vram_gib: float
    compute_capability: tuple[int, int] = (0, 0)
    rates: Rates | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The device that computes and the memory it has.

    `vram_gib` is what is free on the card and `total_gib` what it has; both are 0 without one. `ram_gib` is what this
    process may use: the smaller of the machine's memory and its control group's limit; `available_gib` is what of it is
    free now, 0 where that is not known. `halves`: its processor multiplies bf16 itself. `rates`: where the card is a
    known one. `notes` are sentences worth telling.
    """

    device: Device
    name: str
    vram_gib: float = 0.0
    total_gib: float = 0.0
    ram_gib: float
    available_gib: float = 0.0
    cores: int
    disk_gib: float = 0.0
    halves: bool = True
    compute_capability: tuple[int, int] = (0, 0)
    rates: Rates | None = None
    notes: tuple[str, ...] = ()

    @property
    def host_gib(self) -> float:
        """The host's memory that is free, as far as it is known."""
        return min(self.available_gib or self.ram_gib, self.ram_gib)

    @property
    def memory_gib(self) -> float:
        """The memory in which weights and activations must fit."""
        return self.vram_gib if self.device is Device.CUDA else self.host_gib
