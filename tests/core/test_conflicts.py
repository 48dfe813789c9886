"""Ways to fit that contradict themselves or break are known before anything is loaded, and refused by the hands."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import twins, values
from vidgen.backends import ltx, pipes
from vidgen.core.conflicts import CONFLICTS, conflict
from vidgen.core.errors import UsageRefused
from vidgen.core.machine import Device
from vidgen.core.plan import Placement, Precision, Rung

PLAIN = Rung(precision=Precision.BF16, placement=Placement.STREAM, resident=3)

BAD = {
    "blocks of a GGUF file from disk": (replace(PLAIN, placement=Placement.DISK, kind="Q8_0"), Device.CUDA),
    "resident blocks where none are streamed": (replace(PLAIN, placement=Placement.PHASE), Device.CUDA),
    "fp8 on Apple's GPU": (replace(PLAIN, precision=Precision.FP8), Device.MPS),
    "nf4 on Apple's GPU": (replace(PLAIN, encoder=Precision.NF4), Device.MPS),
}


@pytest.mark.parametrize("what", list(BAD))
def test_what_does_not_go_together_is_found_by_its_own_name(what: str) -> None:
    found = conflict(*BAD[what])
    assert found is not None
    assert found.what == what


def test_every_conflict_has_an_example_here() -> None:
    assert {each.what for each in CONFLICTS} == set(BAD)


@pytest.mark.parametrize("device", list(Device))
@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8])
def test_what_every_device_has_numbers_for_goes_anywhere(
    device: Device, placement: Placement, precision: Precision
) -> None:
    assert conflict(Rung(precision=precision, placement=placement), device) is None


def test_the_hands_refuse_it_before_anything_is_loaded(twin: Path) -> None:
    job = twins.job(twins.card(twin), rung=Rung(precision=Precision.NF4, placement=Placement.PHASE, resident=1))
    with pytest.raises(UsageRefused) as refused:
        pipes.Parts(job, ltx.KINDS)
    values.says(refused, 2, "resident blocks where none are streamed", "--offload")
