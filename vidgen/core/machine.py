"""What machine we have."""

from dataclasses import dataclass
from enum import StrEnum


class Device(StrEnum):
    """Where tensors live."""

    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The device that computes and the memory it has.

    `vram_gib` is 0 without a card of its own. `ram_gib` is what this process may use: the smaller of the machine's
    memory and its control group's limit.
    """

    device: Device
    name: str
    vram_gib: float = 0.0
    ram_gib: float
    cores: int
    disk_gib: float = 0.0
    compute_capability: tuple[int, int] = (0, 0)

    @property
    def memory_gib(self) -> float:
        """The memory in which weights and activations must fit."""
        return self.vram_gib if self.device is Device.CUDA else self.ram_gib
