"""The repositories that the loopback hub serves: their files, and the hashes that a hub knows files by."""

import hashlib
import json
import random

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin", ".model")

REPOSITORY = "Lightricks/LTX-Video-0.9.5"
MODEL = "ltx-video-2b-0.9.5"
SISTER = "Lightricks/LTX-Video-0.9.1"

UNWANTED = {
    "README.md",
    "transformer/diffusion_pytorch_model.fp16.safetensors",
    "transformer/diffusion_pytorch_model.bin",
    "text_encoder/pytorch_model.bin",
    "ltx-video-2b-v0.9.5.safetensors",
    "image_encoder/model.safetensors",
}
"""What a repository holds beside what the model needs."""


def tensors(seed: int, length: int) -> bytes:
    """A file of safetensors that is as long as its header says."""
    header = json.dumps({"t": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(length)


def pipeline(seed: int = 0, *, mib: float = 0.25) -> dict[str, bytes]:
    """The files of a repository of about `mib` MiB: half of it the transformer, the rest in two shards and the VAE."""
    part = int(mib * 2**20 / 8)
    shards = {f"model-0000{number}-of-00002.safetensors": tensors(99 + number, part) for number in (1, 2)}
    weight_map = {f"t{number}": name for number, name in enumerate(shards)}
    return {
        "model_index.json": b'{"_class_name": "LTXConditionPipeline"}',
        "transformer/config.json": b'{"_class_name": "LTXVideoTransformer3DModel"}',
        "transformer/diffusion_pytorch_model.safetensors": tensors(seed + 1, 4 * part),
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": tensors(seed + 2, 2 * part),
        "text_encoder/config.json": b'{"t5": 1}',
        "text_encoder/model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode(),
        **{f"text_encoder/{name}": data for name, data in shards.items()},
        "tokenizer/tokenizer_config.json": b'{"t": 1}',
        "tokenizer/spiece.model": b"pieces" * 50,
        "scheduler/scheduler_config.json": b'{"s": 1}',
        **dict.fromkeys(UNWANTED, b"never fetched"),
    }


HUNYUAN, FRAMEPACK, FLUX = (
    "hunyuanvideo-community/HunyuanVideo",
    "lllyasviel/FramePackI2V_HY",
    "lllyasviel/flux_redux_bfl",
)


def scattered(*, mib: float = 0.25) -> dict[str, dict[str, bytes]]:
    """The three repositories that FramePack is in, of about `mib` MiB together, with what it does not need of them."""
    part = int(mib * 2**20 / 8)
    own = {
        "model_index.json": b'{"_class_name": "HunyuanVideoPipeline"}',
        "transformer/config.json": b"{}",
        "transformer/diffusion_pytorch_model.safetensors": b"never fetched",
        "vae/config.json": b'{"v": 1}',
        "vae/diffusion_pytorch_model.safetensors": tensors(31, part),
        "text_encoder/config.json": b'{"l": 1}',
        "text_encoder/model.safetensors": tensors(30, part),
        "text_encoder_2/config.json": b'{"l": 2}',
        "text_encoder_2/model.safetensors": tensors(34, part),
        "tokenizer/tokenizer.json": b'{"t": 1}',
        "tokenizer_2/vocab.json": b'{"t": 2}',
        "scheduler/scheduler_config.json": b'{"s": 1}',
    }
    top = {
        "README.md": b"never fetched",
        "config.json": b'{"f": 1}',
        "diffusion_pytorch_model.safetensors": tensors(32, 4 * part),
    }
    sight = {
        "flux1-redux-dev.safetensors": b"never fetched",
        "feature_extractor/preprocessor_config.json": b'{"p": 1}',
        "image_encoder/config.json": b'{"i": 1}',
        "image_encoder/model.safetensors": tensors(33, part),
        "image_embedder/config.json": b"{}",
    }
    return {HUNYUAN: own, FRAMEPACK: top, FLUX: sight}


def etag(name: str, data: bytes) -> str:
    """The hash that the hub knows a file by."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def sibling(name: str, data: bytes) -> dict[str, object]:
    """A file as the hub's answer about a model lists it."""
    known: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": "b" * 40}
    if name.endswith(LARGE):
        return {**known, "lfs": {"sha256": etag(name, data), "size": len(data), "pointerSize": 134}}
    return {**known, "blobId": etag(name, data)}


def branch(name: str, data: bytes) -> dict[str, object]:
    """A file as the hub's tree lists it, which other tools ask for."""
    large = {"lfs": {"oid": etag(name, data), "size": len(data), "pointerSize": 134}} if name.endswith(LARGE) else {}
    return {"type": "file", "path": name, "size": len(data), "oid": etag(name, data), **large}
