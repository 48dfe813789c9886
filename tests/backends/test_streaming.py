"""Blocks that come and go: the frames are those of a model that is there whole, in the room of two blocks."""

import gc
import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import twins
from tests.backends import tiny
from vidgen.backends import ltx, ltx2, pipes, streaming, waiting
from vidgen.backends.port import opened
from vidgen.backends.readers import PLACES
from vidgen.backends.streaming import Block, Stream
from vidgen.backends.waiting import Pages
from vidgen.catalog import cards
from vidgen.core.card import Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Lora

BY_BLOCK = [Placement.STREAM, Placement.DISK]
QUANTIZED = [precision for precision in Precision if precision.quantized]
WHOLE = Rung(precision=Precision.BF16, placement=Placement.PHASE)

FAMILIES = (
    "cogvideox-1.5-5b",
    "framepack",
    "hunyuan-video",
    "hunyuan-video-1.5-480p-i2v",
    "ltx-2-19b-dev",
    "ltx-2.5-distilled",
    "mochi-1",
    "wan-2.1-i2v-14b-480p",
    "wan-2.2-t2v-a14b",
)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VIDGEN_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "quantized"


def film(job: Job) -> np.ndarray[Any, Any]:
    with opened(job) as backend:
        return tiny.straight(backend, job)


def on(twin: Path, **rung: Any) -> Job:
    return twins.job(twins.card(twin), rung=replace(WHOLE, **rung))


def pocket(**rung: Any) -> Job:
    words: dict[str, Any] = {"width": 32, "height": 32, "frames": 5, "steps": 2, "negative": ""}
    return twins.job(cards.card("pocket"), **words, rung=replace(WHOLE, **rung))


def parts(job: Job) -> pipes.Parts:
    return pipes.Parts(job, ltx.KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_frames_are_those_of_a_whole_model_in_every_family(name: str, tmp_path: Path) -> None:
    twin = tiny.card(tiny.folder(name, tmp_path))
    whole = film(tiny.job(twin, next(iter(twin.ways)), rung=WHOLE))
    for placement in BY_BLOCK:
        rung = replace(WHOLE, placement=placement, resident=1)
        assert (film(tiny.job(twin, next(iter(twin.ways)), rung=rung)) == whole).all(), placement


@pytest.mark.parametrize("placement", BY_BLOCK)
@pytest.mark.parametrize("resident", [0, 1, 99])
def test_how_many_blocks_stay_changes_nothing(placement: Placement, resident: int, twin: Path) -> None:
    assert (film(on(twin, placement=placement, resident=resident)) == film(on(twin))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_quantized_blocks_come_from_disk_in_every_family(name: str, tmp_path: Path) -> None:
    twin = tiny.card(tiny.folder(name, tmp_path))
    for precision in QUANTIZED:
        rung = replace(WHOLE, precision=precision)
        whole = film(tiny.job(twin, next(iter(twin.ways)), rung=rung))
        rung = replace(rung, placement=Placement.DISK, resident=1)
        assert (film(tiny.job(twin, next(iter(twin.ways)), rung=rung)) == whole).all(), precision


@pytest.mark.parametrize("placement", BY_BLOCK)
@pytest.mark.parametrize("precision", QUANTIZED)
def test_quantized_blocks_come_and_go_too(precision: Precision, placement: Placement) -> None:
    whole = film(pocket(precision=precision))
    for resident in (0, 1, 99):
        assert (film(pocket(precision=precision, placement=placement, resident=resident)) == whole).all()


@pytest.mark.parametrize("placement", BY_BLOCK)
@pytest.mark.parametrize("precision", [Precision.BF16, *QUANTIZED])
def test_loras_are_worn_by_blocks_that_come_and_go(placement: Placement, precision: Precision) -> None:
    lora = (Lora(path=twins.lora(Path("style.safetensors"), width=128)),)
    whole = pocket(precision=precision)
    worn = replace(whole, request=replace(whole.request, loras=lora))
    rung = replace(worn.plan.rung, placement=placement, resident=1)
    assert (film(replace(worn, plan=replace(worn.plan, rung=rung))) == film(worn)).all()
    assert not (film(worn) == film(whole)).all()


@pytest.mark.parametrize("placement", BY_BLOCK)
def test_a_block_that_has_not_come_cannot_be_used(placement: Placement, twin: Path) -> None:
    held = parts(on(twin, placement=placement))
    for name in ("transformer", "text_encoder"):
        part = held.hold([name])[name]
        block = next(iter(streaming.blocks(part).values()))
        layer = next(each for each in block.modules() if isinstance(each, torch.nn.Linear))
        with pytest.raises(AttributeError, match="weight"):
            layer(torch.zeros(1, layer.in_features, dtype=torch.bfloat16))
    held.close()


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.NF4])
@pytest.mark.parametrize("placement", BY_BLOCK)
@pytest.mark.parametrize("resident", [0, 1])
def test_only_the_block_at_work_and_those_that_stay_have_weights(
    placement: Placement, resident: int, precision: Precision
) -> None:
    held = parts(pocket(placement=placement, resident=resident, precision=precision))
    part = held.hold(["transformer"])["transformer"]
    found: list[int] = []
    blocks = list(streaming.blocks(part).values())
    for block in blocks:
        block.register_forward_pre_hook(lambda *_: found.append(sum(map(here, blocks))))
    run(part)
    assert len(found) == len(blocks) > 3
    assert set(found[resident:]) == {1 + resident}
    assert sum(map(here, blocks)) == resident
    held.close()


def here(block: torch.nn.Module) -> bool:
    return next(block.parameters(), None) is not None


def run(part: Any) -> None:
    config = part.config
    with torch.no_grad():
        part(
            hidden_states=torch.zeros(1, 8, config.in_channels, dtype=torch.bfloat16),
            encoder_hidden_states=torch.zeros(1, 4, config.caption_channels, dtype=torch.bfloat16),
            timestep=torch.zeros(1),
            encoder_attention_mask=torch.ones(1, 4),
            num_frames=2,
            height=2,
            width=2,
        )


@pytest.mark.parametrize("precision", [Precision.BF16, *QUANTIZED])
def test_no_more_than_one_block_is_in_memory_twice_while_a_model_goes_there(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, real = parts(pocket(precision=precision, placement=Placement.STREAM)), waiting.read
    read: list[weakref.ref[torch.Tensor]] = []
    sizes: list[int] = []

    def noted(places: Sequence[waiting.Place]) -> list[torch.Tensor]:
        assert not any(ref() is not None for ref in read)
        leaves = real(places)
        read.extend(weakref.ref(leaf) for leaf in leaves)
        sizes.append(sum(leaf.nbytes for leaf in leaves))
        return leaves

    monkeypatch.setattr(waiting, "read", noted)
    stream = streaming.stream(held.hold(["transformer"])["transformer"])
    assert stream is not None
    assert not any(ref() is not None for ref in read)
    assert sizes == [sum(leaf.nbytes for leaf in stream._source(number)) for number in range(len(sizes))]
    assert len(sizes) > 3
    held.close()


def test_nothing_is_streamed_to_a_phase_that_is_at_home(twin: Path) -> None:
    held = parts(on(twin, placement=Placement.STREAM, host=(Phase.ENCODE,)))
    part = held.hold(["text_encoder"])["text_encoder"]
    assert streaming.stream(part) is None
    assert all(map(here, streaming.blocks(part).values()))


def test_what_follows_is_learnt_from_what_followed() -> None:
    layers = [torch.nn.Linear(2, 2, bias=False) for _ in range(4)]
    wanted = [layer.weight.detach().clone() for layer in layers]
    pages, sent, order = Pages("cpu"), list[int](), (2, 0, 3)
    waiting = [Block(f"{number}", layer) for number, layer in enumerate(layers)]
    for block in waiting:
        pages.keep(block.empty())

    class Noted:
        def __call__(self, number: int, /) -> list[torch.Tensor]:
            sent.append(number)
            return pages(number)

        def close(self) -> None:
            pages.close()

    stream = Stream(waiting, Noted(), "cpu")
    for _ in range(3):
        for number in order:
            assert torch.equal(layers[number](torch.eye(2)), wanted[number].T)
    stream.close()
    assert sent[:12] == [2, 3, 0, 1, 3, 0, 2, 0, 3, 2, 0, 3]  # the last one may have been called back


class Beside:
    """A stream of a card that only writes down what it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name, self._told = name, told

    def record_event(self) -> str:
        self._told.append(f"{self._name} marks")
        return self._name

    def wait_event(self, event: str) -> None:
        self._told.append(f"{self._name} waits for the mark of {event}")

    def wait_stream(self, other: "Beside") -> None:
        self._told.append(f"{self._name} waits for {other._name}")


def test_on_a_card_what_is_carried_waits_for_the_memory_and_computing_for_what_is_carried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    lane, computing = streaming.Lane("cpu"), Beside("computing", told)
    lane._side = Beside("side", told)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: computing)

    @contextmanager
    def beside(stream: Beside) -> Iterator[None]:
        told.append("on the side")
        yield

    monkeypatch.setattr(torch.cuda, "stream", beside)
    arriving: Future[list[torch.Tensor]] = Future()
    arriving.set_result(lane.carry([torch.ones(2)], lane.room([torch.empty(2, device="meta")])))
    assert lane.meet(arriving)[0].tolist() == [1, 1]
    assert told == [
        "on the side",
        "computing marks",
        "side waits for the mark of computing",
        "on the side",
        "computing waits for side",
    ]


@pytest.mark.parametrize("placement", BY_BLOCK)
def test_all_of_it_is_given_back(placement: Placement, twin: Path) -> None:
    threads = threading.active_count()
    held = parts(on(twin, placement=placement))
    gc.disable()
    try:
        part = held.hold(["transformer"])["transformer"]
        stream = streaming.stream(part)
        assert stream is not None
        kept = [weakref.ref(leaf) for leaf in (*part.parameters(), *stream._source(0))]
        del stream
        held.hold(["vae"])
        assert not any(ref() is not None for ref in kept)
        assert threading.active_count() == threads
    finally:
        gc.enable()
    held.close()


@pytest.mark.parametrize(
    "placement", [Placement.STREAM, *(pytest.param(each, marks=pytest.mark.slow) for each in ("phase", "disk"))]
)
def test_many_clips_hold_no_more_than_a_few(placement: Placement, twin: Path) -> None:
    job = on(twin, placement=Placement(placement))
    with opened(job) as backend:

        def count(clips: int) -> int:
            for seed in range(clips):
                tiny.straight(backend, replace(job, request=replace(job.request, seed=seed, steps=1)))
            gc.collect()
            return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

        assert count(2) == count(8)


def test_nothing_of_a_model_on_disk_is_in_memory_but_what_is_in_no_block(twin: Path) -> None:
    held = parts(on(twin, placement=Placement.DISK))
    for name in ("transformer", "text_encoder"):
        part = held.hold([name])[name]
        assert not any(map(here, streaming.blocks(part).values()))
        assert not any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers()))
    assert part.shared.weight is part.encoder.embed_tokens.weight
    held.close()


def test_what_a_family_reads_its_own_way_does_not_come_from_files(twin: Path) -> None:
    usual = ltx.KINDS["LTXVideoTransformer3DModel"]
    own = replace(usual, read=lambda kind, folder, dtype: usual.read(kind, folder, dtype))
    held = pipes.Parts(on(twin, placement=Placement.DISK), {**ltx.KINDS, "LTXVideoTransformer3DModel": own})
    with pytest.raises(UsageRefused, match="its own way"):
        held.hold(["transformer"])
    from_memory = pipes.Parts(on(twin, placement=Placement.STREAM), {**ltx.KINDS, "LTXVideoTransformer3DModel": own})
    assert streaming.stream(from_memory.hold(["transformer"])["transformer"])
    from_memory.close()


def test_every_model_that_is_quantized_is_read_block_after_block() -> None:
    for family in {card.family for card in cards.cards().values()}:
        kinds = {**pipes.KINDS, **import_module(f"vidgen.backends.{family}").KINDS}
        for card in cards.cards().values():
            if card.family == family:
                assert all(kinds[part.kind].read in PLACES for part in card.components if part.blocks), card.name


@pytest.mark.parametrize("name", ["transformer", "text_encoder"])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8])
def test_what_its_maker_has_quantized_is_not_read_as_what_it_was(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    folder = twins.ltx(tmp_path / "ltx")
    card = folder / name / "config.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "quantization_config": {"quant_method": "fp8"}}))
    job = on(folder, placement=Placement.DISK, precision=precision)
    known = replace(job.card, components=tuple(replace(part, blocks=0.9) for part in job.card.components))
    with pytest.raises(WeightsRefused, match="its maker has quantized it"):
        parts(replace(job, card=known)).hold([name])


def test_what_writes_does_so_as_its_makers_let_it_however_it_is_read(tmp_path: Path) -> None:
    twin = tiny.card(tiny.folder("ltx-2-19b-dev", tmp_path))
    said = {"eos_token_id": [1, 106], "top_k": 64}
    (tmp_path / "ltx-2-19b-dev" / "text_encoder" / "generation_config.json").write_text(json.dumps(said))
    held = pipes.Parts(tiny.job(twin, next(iter(twin.ways)), rung=WHOLE), ltx2.KINDS)
    for made in (held._bare("text_encoder"), held._read("text_encoder")):
        assert {name: getattr(made.generation_config, name) for name in said} == said


def test_files_that_go_while_they_are_in_use_are_named(tmp_path: Path) -> None:
    folder = twins.ltx(tmp_path / "ltx")
    job = on(folder, placement=Placement.DISK)
    file = next((folder / "transformer").glob("*.safetensors"))
    with opened(job) as backend:
        conditioning = backend.encode([job], lambda _: ())[0]
        with pytest.raises(WeightsRefused, match="cannot be read any more") as refused:
            backend.denoise(job, conditioning, [], lambda done, total, state=None, /: file.unlink(missing_ok=True))
    assert str(file) in refused.value.message


@pytest.mark.parametrize("fault", ["missing", "mismatched", "truncated"])
@pytest.mark.parametrize("name", ["transformer", "text_encoder"])
def test_files_that_do_not_fit_are_refused_by_name_before_they_are_read(name: str, fault: str, tmp_path: Path) -> None:
    folder = twins.ltx(tmp_path / "ltx")
    file = next((folder / name).glob("*.safetensors"))
    tensors = load_file(file)
    key = next(key for key in tensors if ".1." in key and tensors[key].ndim == 2)
    if fault == "missing":
        del tensors[key]
    else:
        tensors[key] = torch.zeros(3, 5)
    save_file(tensors, file, metadata={"format": "pt"})
    if fault == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsRefused, match=name) as refused:
        parts(on(folder, placement=Placement.DISK)).hold([name])
    assert str(file) in refused.value.message or key in refused.value.message
