"""Known cards: found by every name that people and drivers have for them, with rates that make sense."""

from dataclasses import replace

import pytest

from tests.values import CPU, cuda, says
from vidgen.catalog import gpus
from vidgen.core.errors import UsageRefused


@pytest.mark.parametrize("name", ["4090", "RTX 4090", "rtx-4090", "rtx4090", "NVIDIA GeForce RTX 4090"])
def test_a_card_is_known_by_its_names(name: str) -> None:
    assert gpus.gpu(name).name == "NVIDIA GeForce RTX 4090"


def test_a_card_that_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageRefused) as refused:
        gpus.gpu("rtx-4091")
    says(refused, 2, "unknown card", "did you mean rtx-4090", "--vram 24")


@pytest.mark.parametrize("name", gpus.entries())
def test_every_card_has_rates_that_make_sense(name: str) -> None:
    gpu = gpus.entries()[name].gpu
    assert gpu.rates
    assert 8 <= gpu.vram_gib <= 200
    assert 20 <= gpu.rates.tflops <= 3000
    assert gpu.rates.fp8_tflops == 0 or gpu.rates.fp8_tflops == pytest.approx(2 * gpu.rates.tflops, rel=0.02)
    assert (gpu.rates.fp8_tflops > 0) == (gpu.compute_capability >= (8, 9))
    assert 10 <= gpu.rates.link_gbs <= 50 < gpu.rates.memory_gbs <= 8000


def test_no_name_belongs_to_two_cards() -> None:
    names = [word for key, entry in gpus.entries().items() for word in (key, *entry.aliases, *entry.drivers)]
    assert len(names) == len(set(names))


def test_a_machines_card_is_rated_by_the_name_that_its_driver_gives() -> None:
    assert gpus.rated(cuda(24)).rates is None
    assert gpus.rated(CPU) == CPU
    known = gpus.rated(replace(cuda(80), name="NVIDIA A100 80GB PCIe"))
    assert known.rates == gpus.gpu("a100").rates
