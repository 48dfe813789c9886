"""Without masks, every family draws what it draws by the attention of Diffusers."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.backends import tiny
from vidgen.backends import attention
from vidgen.backends.port import Tensors, opened
from vidgen.core.plan import Job
from vidgen.core.request import Mode

SPARED = {
    "hunyuan-video": Mode.T2V,
    "hunyuan-video-i2v": Mode.I2V,
    "hunyuan-video-i2v-33ch": Mode.I2V,
    "hunyuan-video-1.5-480p-t2v": Mode.T2V,
    "hunyuan-video-1.5-480p-i2v": Mode.I2V,
    "ltx-video-2b-0.9.5": Mode.I2V,
    "ltx-2-19b-dev": Mode.T2V,
    "ltx-2-19b-distilled": Mode.I2V,
}
"""Where Diffusers hides padding by a mask, and we leave it out."""

ANYWAY = {"framepack": Mode.I2V, "wan-2.1-t2v-1.3b": Mode.T2V, "cogvideox-5b": Mode.T2V, "mochi-1": Mode.T2V}
"""Where nothing has to be done: FramePack and Mochi leave padding out by themselves, the others attend to it."""

SIDE = 12
"""Of a picture, in tokens: so that there are more of them than of any text and what the text was read with."""

CHANGED: dict[str, dict[str, Any]] = {
    "hunyuan-video-i2v-33ch": {
        "transformer": {"in_channels": 9, "image_condition_type": "latent_concat", "guidance_embeds": False}
    }
}
"""Where the twin of a card differs from that of its family."""


class Heard(TorchFunctionMode):
    """Notes each attention of a transformer: tokens that ask, tokens that are asked, and the shape of the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int, tuple[int, ...]]] = []
        self._within = False

    def __enter__(self) -> "Heard":
        hooks = torch.nn.modules.module
        self._handles = [
            hooks.register_module_forward_pre_hook(lambda module, _: self._pass(module, within=True)),
            hooks.register_module_forward_hook(lambda module, *_: self._pass(module, within=False)),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *fault: Any) -> None:
        super().__exit__(*fault)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def _pass(self, module: torch.nn.Module, *, within: bool) -> None:
        if type(module).__name__.endswith("Transformer3DModel"):
            self._within = within

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._within and func is torch.nn.functional.scaled_dot_product_attention:
            said = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | (kwargs or {})
            mask = said.get("attn_mask")
            shape = () if mask is None else tuple(mask.shape)
            self.calls.append((said["query"].shape[-2], said["key"].shape[-2], shape))
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attention")


@cache
def folder(name: str, place: Path) -> Path:
    return tiny.folder(name, place, **CHANGED.get(name, {}))


def asked(name: str, mode: Mode, place: Path, **words: Any) -> Job:
    """A job of many more picture tokens than text tokens, and of a prompt that is mostly padding."""
    card = tiny.card(folder(name, place))
    sides = {"width": SIDE * card.grid.size, "height": SIDE * card.grid.size}
    return tiny.job(card, mode, **{**sides, "prompt": "ab", "negative": "abcdef", "steps": 2, **words})


def drawn(job: Job, hidden: int | None = None) -> tuple[Tensors, list[tuple[int, int, tuple[int, ...]]]]:
    """The latents, and each attention on the way; `hidden`: the token of each text that is hidden beside padding."""
    with opened(job) as backend:
        conditioning = backend.encode([job], lambda _: tiny.pictures(job))[0]
        for name in [name for name in conditioning if "mask" in name and hidden is not None]:
            conditioning[name][:, hidden] = 0
        with Heard() as heard:
            return backend.denoise(job, conditioning, tiny.pictures(job), tiny.no_step), heard.calls


def hidden(calls: list[tuple[int, int, tuple[int, ...]]]) -> int:
    """Numbers in the masks of all attention together."""
    return sum(prod(shape) for *_, shape in calls if shape)


@contextmanager
def stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(attention, "unmasked", nullcontext)
        yield


@pytest.mark.parametrize("name", SPARED)
def test_without_masks_is_drawn_what_stock_attention_draws(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(name, SPARED[name], place)
    ours, plain = drawn(job)
    with stock(monkeypatch):
        theirs, masked = drawn(job)
    for part in ours.keys() - {"generator"}:
        assert (ours[part] - theirs[part]).abs().max() < 1e-5
        assert theirs[part].std() > 0.1
    assert len(plain) == len(masked)
    assert hidden(plain) < hidden(masked)


@pytest.mark.parametrize("name", SPARED | ANYWAY)
def test_no_attention_of_the_picture_to_itself_is_given_a_mask(name: str, place: Path) -> None:
    job = asked(name, {**SPARED, **ANYWAY}[name], place)
    _, calls = drawn(job)
    tokens = 3 * SIDE * SIDE
    assert any(asking >= tokens for asking, _, _ in calls)
    for asking, among, shape in calls:
        assert not shape or max(asking, among) < tokens or shape[-2:] == (1, len("abcdef") + 2)


def test_texts_of_one_length_need_no_mask_in_one_batch(place: Path) -> None:
    _, calls = drawn(asked("ltx-video-2b-0.9.5", Mode.T2V, place, negative="cd"))
    assert {shape for *_, shape in calls} == {()}
    assert min(among for _, among, _ in calls) == len("cd") + 2


@pytest.mark.parametrize("name", ["hunyuan-video", "hunyuan-video-1.5-480p-t2v", "ltx-video-2b-0.9.5", "ltx-2-19b-dev"])
def test_what_is_hidden_in_the_midst_of_a_text_stays_hidden(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(name, Mode.T2V, place)
    ours, calls = drawn(job, hidden=1)
    with stock(monkeypatch):
        theirs, _ = drawn(job, hidden=1)
    whole, _ = drawn(job)
    assert (ours["latents"] - theirs["latents"]).abs().max() < 1e-5
    assert (ours["latents"] - whole["latents"]).abs().max() > 1e-4
    assert any(shape for *_, shape in calls)
