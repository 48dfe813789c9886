"""A transformer from a GGUF file: the same as without where the file holds it whole, near it where it does not."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import gguf as library
import numpy as np
import pytest
import torch

from tests import stored, twins
from tests.backends import tiny
from tests.backends.test_streaming import film
from tools.costs.count import blueprint
from vidgen import ggufs
from vidgen.backends import gguf, ltx, pipes, streaming, wan
from vidgen.backends.counting.live import Live
from vidgen.backends.quiet import found
from vidgen.catalog import cards
from vidgen.core.card import ModelCard
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.gguf import FLOATS
from vidgen.core.plan import Job, Placement, Precision, Rung, Weights
from vidgen.core.request import Gguf, Lora
from vidgen.media.measures import psnr
from vidgen.planning.memory import UNPACKED, UNPACKED_ELSE

WHOLE = Rung(precision=Precision.BF16, placement=Placement.PHASE)

FAMILIES = (
    "framepack",
    "hunyuan-video",
    "hunyuan-video-1.5-480p-i2v",
    "ltx-2-19b-dev",
    "ltx-video-2b-0.9.5",
    "mochi-1",
    "wan-2.1-i2v-14b-480p",
    "wan-2.2-t2v-a14b",
)


def carried(card: ModelCard, kind: str, **how: Any) -> ModelCard:
    """`card` with each of its transformers from a file."""
    assert card.folder is not None
    names = [part.name for part in card.components if part.name.startswith("transformer")]
    files = [stored.of(card.folder / name, Path(f"{name}-{kind}.gguf"), kind, **how) for name in names]
    return ggufs.carried(card, tuple(Gguf(path=file, component=name) for file, name in zip(files, names, strict=True)))


def pocket(card: ModelCard | None = None, **words: Any) -> Job:
    usual: dict[str, Any] = {"width": 32, "height": 32, "frames": 5, "steps": 2, "negative": "", "rung": WHOLE}
    return twins.job(card or cards.card("pocket"), **{**usual, "prompt": "a red circle", **words})


def on(kind: str, **rung: Any) -> Rung:
    return replace(WHOLE, kind=kind, **rung)


LEAST = {"Q8_0": 35.0, "Q5_1": 25.0, "Q4_0": 20.0}
"""Decibels between a clip of the built-in model and its bf16 self."""


@pytest.mark.parametrize("kind", LEAST)
def test_a_clip_of_the_built_in_model_is_near_its_whole_self(kind: str) -> None:
    whole, near = film(pocket()), film(pocket(carried(cards.card("pocket"), kind, architecture="ltxv"), rung=on(kind)))
    assert psnr(whole, near) > LEAST[kind]
    assert not (whole == near).all()


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32"])
def test_what_is_not_quantized_gives_the_very_frames(kind: str) -> None:
    card = carried(cards.card("pocket"), kind, architecture="ltxv")
    assert (film(pocket(card, rung=on(kind))) == film(pocket())).all()


def test_blocks_come_and_go_and_loras_are_worn_over_them() -> None:
    card = carried(cards.card("pocket"), "Q8_0", architecture="ltxv")
    lora = (Lora(path=twins.lora(Path("style.safetensors"), width=128)),)
    plain, worn = (film(pocket(card, rung=on("Q8_0"), loras=loras)) for loras in ((), lora))
    streamed = on("Q8_0", placement=Placement.STREAM, resident=1)
    assert (film(pocket(card, rung=streamed)) == plain).all()
    assert (film(pocket(card, rung=streamed, loras=lora)) == worn).all()
    assert psnr(plain, worn) < 20
    assert psnr(film(pocket(loras=lora)), worn) > 30


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_in_every_family_it_is_exact_where_the_file_is_and_near_where_it_is_not(name: str, tmp_path: Path) -> None:
    wider = stored.WIDER.get(cards.cards()[name].family, {})
    twin = tiny.card(tiny.folder(name, tmp_path, transformer=wider))
    mode = next(iter(twin.ways))
    whole = film(tiny.job(twin, mode, rung=WHOLE))
    assert (film(tiny.job(carried(twin, "BF16", architecture="pig"), mode, rung=on("BF16"))) == whole).all()
    eights = carried(twin, "Q8_0", architecture="pig")
    near = film(tiny.job(eights, mode, rung=on("Q8_0")))
    assert psnr(whole, near) > 35
    assert not (whole == near).all()
    assert (film(tiny.job(eights, mode, rung=on("Q8_0", placement=Placement.STREAM, resident=1))) == near).all()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "BF16"])
def test_it_takes_the_bytes_that_its_header_says(kind: str) -> None:
    card = carried(cards.card("pocket"), kind, architecture="ltxv")
    part = pipes.Parts(pocket(card, rung=on(kind)), ltx.KINDS).hold(["transformer"])["transformer"]
    held = card.component("transformer").stored
    assert held is not None
    assert sum(tensor.nbytes for tensor in part.parameters()) == held.held
    blocks = [sum(each.nbytes for each in block.parameters()) for block in part.transformer_blocks]
    assert (sum(blocks), max(blocks)) == (held.blocks, held.block)


@pytest.mark.parametrize(("kind", "small"), [("Q4_K", (0, 2)), ("Q6_K", (208,)), ("IQ4_NL", (0,))])
def test_kinds_that_are_seldom_written_are_made_whole_as_the_library_reads_them(
    kind: str, small: tuple[int, ...], tmp_path: Path
) -> None:
    folder = tiny.folder("wan-2.1-t2v-1.3b", tmp_path, transformer={"ffn_dim": 256})
    name, tensors = "blocks.0.ffn.net.2.weight", stored.weights(tmp_path / "wan-2.1-t2v-1.3b" / "transformer")
    packed = _bytes(kind, tensors[name].shape, small)
    file = stored.write(Path("mixed.gguf"), tensors, kind="F32", packed={name: (kind, packed)})
    card = ggufs.carried(tiny.card(folder), (Gguf(path=file),))
    job = tiny.job(card, next(iter(card.ways)), rung=on(kind, placement=Placement.STREAM))
    part = pipes.Parts(job, wan.KINDS).hold(["transformer"])["transformer"]
    layer, given = part.get_submodule(name.removesuffix(".weight")), torch.eye(256, dtype=torch.bfloat16)
    made: list[torch.Tensor] = []
    layer.register_forward_hook(lambda *told: made.append(told[2]))
    stream = streaming.stream(part)
    assert stream is not None
    with torch.no_grad():
        stream._enter(0)
        layer(given)
    wanted = torch.from_numpy(library.quants.dequantize(packed, library.GGMLQuantizationType[kind])).bfloat16()
    assert torch.allclose(made[0] - layer.bias, wanted.T, atol=0.02)
    assert wanted.abs().max() > 0.1


def _bytes(kind: str, shape: tuple[int, ...], small: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Random pieces; where their scales are, small numbers."""
    piece, size = library.GGML_QUANT_SIZES[library.GGMLQuantizationType[kind]]
    packed = np.random.default_rng(3).integers(0, 256, (shape[0] * shape[1] // piece, size), dtype=np.uint8)
    for place in small:
        packed[:, place : place + 2] = np.frombuffer(np.float16(0.001).tobytes(), dtype=np.uint8)
    return packed.reshape(shape[0], -1)


@pytest.mark.parametrize("kind", sorted(ggufs.READABLE - FLOATS))
def test_the_room_that_a_matrix_takes_while_it_is_made_whole_is_counted(kind: str) -> None:
    rows, sides, known = 64, 2048, library.GGMLQuantizationType[kind]
    piece, size = library.GGML_QUANT_SIZES[known]
    tools = import_module("diffusers.quantizers.gguf.utils")
    layer = tools.GGUFLinear(sides, rows, bias=False, compute_dtype=torch.bfloat16)
    packed = torch.zeros(rows, sides // piece * size, dtype=torch.uint8)
    layer.weight, given = tools.GGUFParameter(packed, quant_type=known), torch.zeros(1, sides, dtype=torch.bfloat16)
    with torch.no_grad(), Live() as live:
        layer(given)
    wanted = UNPACKED.get(kind, UNPACKED_ELSE)
    assert 0.7 * wanted < live.peak / (rows * sides) < wanted + 0.1


LTX = (("time_embed.", "adaln_single."), ("proj_in.", "patchify_proj."), ("norm_q", "q_norm"), ("norm_k", "k_norm"))
WAN = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
    ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
    ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
    ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
    *((f".{own}.", f".{maker}.") for own, maker in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"))),
    *((".add_k_proj.", ".k_img."), (".add_v_proj.", ".v_img."), (".norm_added_k.", ".norm_k_img.")),
    *(("attn1", "self_attn"), ("attn2", "cross_attn"), ("proj_out", "head.head")),
    *(("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), (".norm2.", ".norm3.")),
)


def as_makers_of_ltx(name: str) -> str:
    return "model.diffusion_model." + _replaced(name, LTX)


def as_makers_of_wan(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    return _replaced(name, WAN).replace("scale_shift_table", "modulation")


def _replaced(name: str, pairs: Any) -> str:
    for own, maker in pairs:
        name = name.replace(own, maker)
    return name


@pytest.mark.parametrize(
    ("name", "rename"),
    [("ltx-video-2b-0.9.5", as_makers_of_ltx), ("wan-2.1-i2v-14b-480p", as_makers_of_wan)],
)
def test_the_names_of_the_makers_are_known_too(name: str, rename: Any, tmp_path: Path) -> None:
    twin = tiny.card(tiny.folder(name, tmp_path))
    mode = next(iter(twin.ways))
    for kind in ("BF16", "Q8_0"):
        made = [
            film(tiny.job(carried(twin, kind, architecture="pig", rename=each), mode, rung=on(kind)))
            for each in (str, rename)
        ]
        assert (made[0] == made[1]).all()


def test_the_names_of_the_makers_of_hunyuan_video_15_are_known_too(tmp_path: Path) -> None:
    twin = tiny.card(tiny.folder("hunyuan-video-1.5-480p-t2v", tmp_path, transformer=stored.WIDER["hunyuan15"]))
    assert twin.folder is not None
    tensors = as_makers_of_hunyuan15(stored.weights(twin.folder / "transformer"))
    mode, made = next(iter(twin.ways)), []
    for kind in ("BF16", "Q8_0"):
        file = stored.write(Path(f"makers-{kind}.gguf"), tensors, kind, architecture="hyvid")
        card = ggufs.carried(twin, (Gguf(path=file),))
        made += [
            film(tiny.job(each, mode, rung=on(kind))) for each in (card, carried(twin, kind, architecture="hyvid"))
        ]
    assert (made[0] == made[1]).all()
    assert psnr(made[2], made[3]) > 40  # three matrices in one are quantized as ever, in rows of their own


def as_makers_of_hunyuan15(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the script says that converts them, read from its end to its beginning."""
    found = {_of_hunyuan15(name): tensor for name, tensor in tensors.items()}
    for end in ("weight", "bias"):
        block = "txt_in.individual_token_refiner.blocks.0"
        parts = [found.pop(f"{block}.attn.to_{one}.{end}") for one in "qkv"]
        found[f"{block}.self_attn_qkv.{end}"] = torch.cat(parts)
        scale, shift = found[f"final_layer.adaLN_modulation.1.{end}"].chunk(2)
        found[f"final_layer.adaLN_modulation.1.{end}"] = torch.cat([shift, scale])
    return found


def _of_hunyuan15(name: str) -> str:
    pairs = [
        ("context_embedder.time_text_embed.timestep_embedder.linear_1", "txt_in.t_embedder.mlp.0"),
        ("context_embedder.time_text_embed.timestep_embedder.linear_2", "txt_in.t_embedder.mlp.2"),
        ("context_embedder.time_text_embed.text_embedder", "txt_in.c_embedder"),
        ("context_embedder.proj_in", "txt_in.input_embedder"),
        ("context_embedder.token_refiner.refiner_blocks", "txt_in.individual_token_refiner.blocks"),
        ("time_embed.timestep_embedder.linear_1", "time_in.mlp.0"),
        ("time_embed.timestep_embedder.linear_2", "time_in.mlp.2"),
        *((f"context_embedder_2.linear_{one}", f"byt5_in.fc{one}") for one in "123"),
        ("context_embedder_2.norm", "byt5_in.layernorm"),
        *(("image_embedder.norm_in", "vision_in.proj.0"), ("image_embedder.norm_out", "vision_in.proj.4")),
        *(("image_embedder.linear_1", "vision_in.proj.1"), ("image_embedder.linear_2", "vision_in.proj.3")),
        *(("x_embedder", "img_in"), ("cond_type_embed", "cond_type_embedding"), ("proj_out", "final_layer.linear")),
    ]
    if name.startswith("norm_out.linear"):
        return name.replace("norm_out.linear", "final_layer.adaLN_modulation.1")
    if name.startswith("transformer_blocks"):
        pairs = [
            *(("transformer_blocks", "double_blocks"), ("norm1_context", "txt_mod"), ("norm1", "img_mod")),
            *(("attn.norm_added_q", "txt_attn_q_norm"), ("attn.norm_added_k", "txt_attn_k_norm")),
            *(("attn.norm_q", "img_attn_q_norm"), ("attn.norm_k", "img_attn_k_norm")),
            *((f"attn.add_{one}_proj", f"txt_attn_{one}") for one in "qkv"),
            *((f"attn.to_{one}.", f"img_attn_{one}.") for one in "qkv"),
            *(("attn.to_out.0", "img_attn_proj"), ("attn.to_add_out", "txt_attn_proj")),
            *(("ff_context.", "txt_mlp."), ("ff.", "img_mlp.")),
        ]
    pairs += [("attn.to_out.0", "self_attn_proj"), ("ff.", "mlp."), ("norm_out.linear", "adaLN_modulation.1")]
    return _replaced(name, [*pairs, ("net.0.proj", "fc1"), ("net.2", "fc2")])


@pytest.mark.parametrize(("name", "rename"), [("hunyuan-video", "hunyuan"), ("ltx-2-19b-dev", "ltx2")])
def test_full_size_files_of_the_makers_fit_and_are_as_large_as_the_card_says(name: str, rename: str) -> None:
    card, part = cards.card(name), blueprint(cards.card(name)).full("transformer")
    shapes = {key: tuple(tensor.shape) for key, tensor in part.state_dict().items()}
    file = stored.sketch(Path("full.gguf"), MAKERS[rename](shapes), "Q8_0", "pig")
    given = ggufs.carried(card, (Gguf(path=file),))
    ggufs.fitting(given, Weights(folder=None, sizes={}))
    held = given.component("transformer").stored
    assert held is not None
    gguf.check("transformer", held, part)
    known = given.component("transformer")
    assert held.held == pytest.approx(known.parameters * 34 / 32, rel=0.01)
    assert held.block == pytest.approx(known.block * 34 / 32, rel=0.01)
    assert held.blocks == pytest.approx(known.parameters * known.stacked * 34 / 32, rel=0.01)


def as_makers_of_ltx2(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """With one of the connectors that lie beside the transformer in the makers' own file."""
    pairs = [
        *(("audio_time_embed.", "audio_adaln_single."), ("audio_proj_in.", "audio_patchify_proj.")),
        ("av_cross_attn_video_scale_shift.", "av_ca_video_scale_shift_adaln_single."),
        ("av_cross_attn_video_a2v_gate.", "av_ca_a2v_gate_adaln_single."),
        ("av_cross_attn_audio_scale_shift.", "av_ca_audio_scale_shift_adaln_single."),
        ("av_cross_attn_audio_v2a_gate.", "av_ca_v2a_gate_adaln_single."),
        ("video_a2v_cross_attn_scale_shift_table", "scale_shift_table_a2v_ca_video"),
        ("audio_a2v_cross_attn_scale_shift_table", "scale_shift_table_a2v_ca_audio"),
        *LTX,
    ]
    beside = {"video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q.weight": (3840, 3840)}
    return {f"model.diffusion_model.{_replaced(key, pairs)}": shape for key, shape in {**shapes, **beside}.items()}


def as_makers_of_hunyuan(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        name, ways = _of_hunyuan(key), 3
        if "proj_mlp" in key:
            continue
        if "single_transformer_blocks" in key and ".attn.to_" in key:
            name, ways = f"single_blocks.{key.split('.')[1]}.linear1.{key.rpartition('.')[2]}", 7
        found[name] = (shape[0] * (ways if name.endswith(FUSED) else 1), *shape[1:])
    return found


FUSED = tuple(f"{name}.{end}" for name in ("linear1", "attn_qkv") for end in ("weight", "bias"))


def _of_hunyuan(key: str) -> str:
    pairs = [
        *((f"attn.to_{one}.", "img_attn_qkv.") for one in "qkv"),
        *((f"attn.add_{one}_proj.", "txt_attn_qkv.") for one in "qkv"),
        *(("attn.to_out.0", "img_attn_proj"), ("attn.to_add_out", "txt_attn_proj")),
        *(("attn.norm_added_q", "txt_attn_q_norm"), ("attn.norm_added_k", "txt_attn_k_norm")),
        *(("attn.norm_q", "img_attn_q_norm"), ("attn.norm_k", "img_attn_k_norm")),
        *(("norm1_context.linear", "txt_mod.linear"), ("norm1.linear", "img_mod.linear")),
        *(("ff_context.", "txt_mlp."), ("ff.", "img_mlp."), ("net.0.proj", "fc1"), ("net.2", "fc2")),
    ]
    if key.startswith("context_embedder"):
        pairs = [
            *((f"attn.to_{one}.", "self_attn_qkv.") for one in "qkv"),
            *(("context_embedder", "txt_in"), ("token_refiner.refiner_blocks", "individual_token_refiner.blocks")),
            *(("time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"), ("attn.to_out.0", "self_attn_proj")),
            *(("time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"), ("proj_in", "input_embedder")),
            *(("time_text_embed.text_embedder", "c_embedder"), ("norm_out.linear", "adaLN_modulation.1")),
            *(("ff.net.0.proj", "mlp.fc1"), ("ff.net.2", "mlp.fc2")),
        ]
    elif key.startswith("single_"):
        pairs = [("attn.norm_q", "q_norm"), ("attn.norm_k", "k_norm"), ("norm.linear", "modulation.linear")]
        pairs += [("single_transformer_blocks", "single_blocks"), ("proj_out", "linear2")]
    elif not key.startswith("transformer_blocks"):
        pairs = [
            *(("x_embedder", "img_in"), ("norm_out.linear", "final_layer.adaLN_modulation.1")),
            *((f"timestep_embedder.linear_{one}", f"time_in.mlp.{2 * one - 2}") for one in (1, 2)),
            *((f"guidance_embedder.linear_{one}", f"guidance_in.mlp.{2 * one - 2}") for one in (1, 2)),
            *(("text_embedder.linear_1", "vector_in.in_layer"), ("text_embedder.linear_2", "vector_in.out_layer")),
            *(("time_text_embed.", ""), ("proj_out", "final_layer.linear")),
        ]
    return _replaced(key, pairs).replace("transformer_blocks", "double_blocks")


MAKERS = {"hunyuan": as_makers_of_hunyuan, "ltx2": as_makers_of_ltx2}


def pocket_with(changed: Mapping[str, Any], **left: Any) -> ModelCard:
    """The built-in model with a file in which some tensors are others; None: not there."""
    card = cards.card("pocket")
    assert card.folder is not None
    tensors = {**stored.weights(card.folder / "transformer"), **changed}
    file = stored.write(Path("other.gguf"), {name: tensor for name, tensor in tensors.items() if tensor is not None})
    return ggufs.carried(replace(card, family="wan"), (Gguf(path=file),))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"proj_out.bias": None}, "missing proj_out.bias"),
        ({"extra.weight": torch.ones(3)}, "unexpected extra.weight"),
        ({"proj_out.bias": torch.ones(3)}, r"mismatched proj_out.bias \(3 instead of"),
    ],
)
def test_tensors_that_are_not_the_models_are_named_before_anything_is_loaded(
    changed: Mapping[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "read", lambda *_: pytest.fail("it was loaded"))
    monkeypatch.setattr(pipes.Parts, "_read", lambda *_: pytest.fail("something was loaded"))
    with pytest.raises(WeightsRefused, match=said):
        pipes.Parts(replace(pocket(pocket_with(changed)), plan=pocket().plan), ltx.KINDS)


def test_a_file_that_changes_under_way_is_refused_and_no_accident() -> None:
    card = carried(cards.card("pocket"), "Q8_0", architecture="ltxv")
    parts = pipes.Parts(pocket(card, rung=on("Q8_0")), ltx.KINDS)
    Path("transformer-Q8_0.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(WeightsRefused, match=r"transformer-Q8_0.gguf cannot be loaded"):
        parts.hold(["transformer"])


def test_blocks_of_a_file_do_not_come_from_disk() -> None:
    card = carried(cards.card("pocket"), "Q8_0", architecture="ltxv")
    with pytest.raises(UsageRefused, match="GGUF file"):
        pipes.Parts(pocket(card, rung=on("Q8_0", placement=Placement.DISK)), ltx.KINDS)


def test_what_diffusers_reads_is_what_we_let_through() -> None:
    known = found("diffusers.quantizers.gguf.utils", "SUPPORTED_GGUF_QUANT_TYPES")
    assert {kind.name for kind in known} | {"F32", "F16"} == ggufs.READABLE


def test_the_table_of_diffusers_is_as_it_was() -> None:
    table = found("diffusers.loaders.single_file_model", "SINGLE_FILE_LOADABLE_CLASSES")
    before = dict(table)
    film(pocket(carried(cards.card("pocket"), "Q8_0", architecture="ltxv"), rung=on("Q8_0"), steps=1))
    assert table == before
    assert set(table) | set(gguf.OWN) | {"HunyuanVideoFramepackTransformer3DModel"} >= ggufs.CLASSES
