"""The frozen words: what they compute of themselves."""

from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import pytest

from tests.values import CARD, CPU, REQUEST, cuda, job, request
from vidgen.core.card import Phase
from vidgen.core.plan import PhasePlan, Precision


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        REQUEST.seed = 8  # type: ignore[misc]


def test_a_clip_plays_for_its_frames_over_its_rate() -> None:
    assert request(frames=24, fps=Fraction(24000, 1001)).seconds == pytest.approx(1.001)


def test_a_card_knows_its_components_by_name() -> None:
    assert CARD.component("vae").kind == "AutoencoderKLLTXVideo"
    with pytest.raises(KeyError, match="vocoder"):
        CARD.component("vocoder")


def test_memory_is_that_of_the_card_or_else_of_the_machine() -> None:
    assert (cuda(12).memory_gib, CPU.memory_gib) == (12, 24)


def test_a_plan_peaks_with_its_heaviest_phase() -> None:
    light = PhasePlan(phase=Phase.ENCODE, components=(), weights_gib=4.0)
    heavy = PhasePlan(phase=Phase.DENOISE, components=(), weights_gib=3.0, work_gib=1.5)
    assert replace(job().plan, phases=(light, heavy)).peak_gib == 4.5


def test_a_parameter_has_the_bytes_of_its_precision() -> None:
    assert {each.value: (each.bytes, each.computed.value, each.quantized) for each in Precision} == {
        "fp32": (4, "fp32", False),
        "bf16": (2, "bf16", False),
        "int8": (1, "bf16", True),
        "fp8": (1, "bf16", True),
        "nf4": (0.5625, "bf16", True),
    }
