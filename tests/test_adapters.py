"""A LoRA is judged by its header alone, before weights are loaded: for which model it is, and how much of it fits."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import vidgen
from tests.conftest import ANSWER
from vidgen.catalog.loras import kinds, makers
from vidgen.core.errors import Refusal

FILE = Path("style.safetensors")
POCKET = "transformer_blocks.0.attn1.to_q"
WIDTH = 128
"""Of the built-in model."""

DIFFUSERS = ("transformer.", ".lora_A.weight", ".lora_B.weight")
MAKERS = ("diffusion_model.", ".lora_A.weight", ".lora_B.weight")
KOHYA = ("lora_unet_", ".lora_down.weight", ".lora_up.weight")


def write(layers: Sequence[str], *, width: int = WIDTH, style: tuple[str, str, str] = DIFFUSERS) -> Path:
    """A LoRA with a header and zeros."""
    prefix, down, up = style
    header, place = {}, 0
    for layer in layers:
        name = layer.replace(".", "_") if prefix.endswith("_") else layer
        for end, shape in ((down, [4, width]), (up, [width, 4])):
            size = 4 * width * 2
            header[f"{prefix}{name}{end}"] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
            place += size
    said = json.dumps(header).encode()
    FILE.write_bytes(len(said).to_bytes(8, "little") + said + bytes(place))
    return FILE


def prepared(**words: Any) -> tuple[str, ...]:
    """What the job says of a clip of the built-in model that wears it."""
    [job] = vidgen.prepare("t2v", prompt="a red circle", model="pocket", lora=[str(FILE)], **words)
    return job.adjustments


def refused(code: int, **words: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        prepared(**words)
    assert refusal.value.exit_code == code
    assert refusal.value.remedy
    return refusal.value.message


MADE: dict[str, tuple[Sequence[str], tuple[str, str, str], list[str]]] = {
    "LTX-Video or LTX-2": (["transformer_blocks.0.attn2.to_q"], DIFFUSERS, ["ltx", "ltx2"]),
    "LTX-2": (["transformer_blocks.0.attn1.to_q", "transformer_blocks.0.audio_attn1.to_q"], MAKERS, ["ltx2"]),
    "attention without a second": (
        ["transformer_blocks.0.attn1.to_q"],
        DIFFUSERS,
        ["ltx", "ltx2", "cogvideox", "mochi"],
    ),
    "CogVideoX": (
        ["transformer_blocks.0.attn1.to_q", "transformer_blocks.0.norm1.linear"],
        DIFFUSERS,
        ["cogvideox", "mochi"],
    ),
    "Mochi": (["transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.add_q_proj"], DIFFUSERS, ["mochi"]),
    "HunyuanVideo": (["single_transformer_blocks.39.attn.to_q"], DIFFUSERS, ["hunyuan"]),
    "HunyuanVideo, the maker's": (["double_blocks.0.img_mlp.fc1", "double_blocks.0.img_attn_qkv"], MAKERS, ["hunyuan"]),
    "HunyuanVideo or Flux": (["single_transformer_blocks.3.attn.to_q"], DIFFUSERS, ["hunyuan", "flux"]),
    "HunyuanVideo-1.5, the maker's": (["double_blocks.0.img_attn_q"], MAKERS, ["hunyuan15"]),
    "HunyuanVideo-1.5": (["transformer_blocks.50.attn.to_q"], DIFFUSERS, ["hunyuan", "hunyuan15"]),
    "Wan": (["blocks.0.attn1.to_q", "blocks.0.ffn.net.0.proj"], DIFFUSERS, ["wan"]),
    "Wan, the maker's": (["blocks.0.self_attn.q", "blocks.0.ffn.0"], MAKERS, ["wan"]),
    "Wan, kohya's": (["blocks.0.self_attn.q"], KOHYA, ["wan"]),
    "Flux, kohya's": (["double_blocks.0.img_mlp.0", "single_blocks.0.linear1"], KOHYA, ["flux"]),
    "Stable Diffusion": (["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"], KOHYA, ["stable-diffusion"]),
    "Stable Diffusion XL": (["input_blocks.4.1.transformer_blocks.1.attn1.to_q"], KOHYA, ["stable-diffusion-xl"]),
    "nobody's": (["layers.0.q"], DIFFUSERS, []),
}


@pytest.mark.parametrize("made", list(MADE))
def test_a_lora_is_known_by_what_it_changes_and_refused_by_a_model_of_another_family(made: str) -> None:
    layers, style, families = MADE[made]
    write(layers, style=style)
    prefix = style[0]
    names = [layer.replace(".", "_") if prefix.endswith("_") else layer for layer in layers]
    assert list(makers(names)) == families
    if families and "ltx" not in families:
        titles = " or ".join(kinds()[family].title for family in families)
        said = refused(4)
        assert f"LoRA {FILE} looks like one for {titles}" in said
        assert ("makes no videos" in said) == (not any(kinds()[family].video for family in families))


@pytest.mark.parametrize("style", [DIFFUSERS, MAKERS])
def test_a_lora_that_fits_is_worn_without_a_word(style: tuple[str, str, str]) -> None:
    write([POCKET], style=style)
    assert prepared() == ()
    [job] = vidgen.prepare(
        "t2v", prompt="a red circle", model="pocket", lora=[str(FILE)], size="32x32", frames=5, steps=1, output="x.mp4"
    )
    assert next(iter(vidgen.run([job]))).path.is_file()


def test_a_lora_that_fits_in_part_says_how_much() -> None:
    write([POCKET, "transformer_blocks.99.attn1.to_q", "proj_nowhere"])
    assert prepared() == ("LoRA style.safetensors: 1 of its 3 layers are in pocket",)


def test_a_lora_for_another_size_of_the_model_is_refused() -> None:
    write([POCKET], width=4096)
    assert refused(4).endswith(f"does not fit: its {POCKET} is for 4096 channels, and pocket has {WIDTH}")


def test_a_lora_of_which_the_model_has_nothing_is_refused() -> None:
    write(["layers.0.q"])
    assert refused(4) == f"LoRA {FILE} does not fit pocket, which has no layers.0.q"


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02}q", bytes(99)])
def test_a_file_that_is_no_safetensors_is_refused(content: bytes) -> None:
    FILE.write_bytes(content)
    assert f"LoRA {FILE} cannot be read" in refused(4)


def test_a_file_that_was_cut_short_and_one_without_a_lora_are_refused() -> None:
    whole = write([POCKET]).read_bytes()
    FILE.write_bytes(whole[:-1])
    assert "and should have" in refused(4)
    FILE.write_bytes(whole.replace(b"lora_A", b"nora_A").replace(b"lora_B", b"nora_B"))
    assert refused(4) == f"{FILE} is no LoRA: none of its 2 tensors is one's"


def test_the_command_refuses_it_without_torch(vidgen: ANSWER) -> None:
    write(["blocks.0.self_attn.q"], style=MAKERS)
    answer = vidgen("t2v", "a red circle", "--lora", str(FILE), "--model", "pocket")
    assert (answer.code, "looks like one for Wan" in answer.err) == (4, True)
    script = f"""
import sys
from vidgen.cli.app import start
code = start(["plan", "t2v", "x", "--model", "pocket", "--lora", {str(FILE)!r}])
sys.exit(0 if code == 4 and not {{"torch", "numpy", "safetensors"}} & set(sys.modules) else 1)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == 0
