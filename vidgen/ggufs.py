"""GGUF files, looked at by their headers alone: what each holds, and whether it is of the model's transformer.

Knows neither torch nor how a tensor is taken apart. Whether every name and shape is the model's, the hands see before
they load anything.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vidgen.core.card import Component, ModelCard
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.facts import facts
from vidgen.core.gguf import FLOATS, Header, Stored, Tensor, header
from vidgen.core.plan import Weights
from vidgen.core.request import Gguf

CLASSES = frozenset(
    {
        "HunyuanVideo15Transformer3DModel",
        "HunyuanVideoFramepackTransformer3DModel",
        "HunyuanVideoTransformer3DModel",
        "LTX2VideoTransformer3DModel",
        "LTXVideoTransformer3DModel",
        "MochiTransformer3DModel",
        "WanTransformer3DModel",
    }
)
"""Those that Diffusers reads from one file."""

READABLE = FLOATS | {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"}
"""The types that it can make whole again."""

ARCHITECTURES: Mapping[str, frozenset[str]] = {
    "hyvid": frozenset({"hunyuan", "hunyuan15", "framepack"}),
    "ltxv": frozenset({"ltx", "ltx2"}),
    "wan": frozenset({"wan"}),
    **dict.fromkeys(("aura", "cosmos", "flux", "hidream", "lumina2", "qwen_image", "sd1", "sd3", "sdxl"), frozenset()),
}
"""What files call what they are of, and the families that this is; any other name says nothing."""

LANGUAGE = ("token_embd.", "blk.", "enc.blk.", "dec.blk.", "v.blk.", "a.blk.")
"""How the tensors of language models and encoders begin."""

BESIDE = re.compile(r"(^|\.)(vae|vocoder|\w+_connector)\.")
"""What of a file that holds a whole model is none of the transformer."""

BLOCK = re.compile(r"^((?:\w+\.)*?\w*blocks)\.(\d+)\.")
"""A tensor of a repeated block: the list that it is in, and its number."""

LAYERS = ("num_layers", "num_single_layers", "num_refiner_layers")
"""What a configuration calls the numbers of repeated blocks."""

ANOTHER = "give a GGUF file of {}"


def carried(card: ModelCard, files: tuple[Gguf, ...]) -> ModelCard:
    """`card`, whose transformers come from `files`. Refuses (exit 2, exit 4) what they cannot come from."""
    for file in files:
        if any(part.name == file.component for part in card.components):
            parts = (
                replace(part, stored=_stored(file.path, part, card)) if part.name == file.component else part
                for part in card.components
            )
            card = replace(card, components=tuple(parts))
    return card


def fitting(card: ModelCard, weights: Weights) -> None:
    """Refuse (exit 4) a file whose blocks are not as many or as wide as the model's, as far as that is known here."""
    for part in card.components:
        if part.stored:
            said = facts(weights.of(part.name) / "config.json") if weights.folder else {}
            _same(header(part.stored.path), part, card, said)


def _stored(path: Path, part: Component, card: ModelCard) -> Stored:
    if part.kind not in CLASSES:
        said = f"{card.name} cannot come from a GGUF file: Diffusers reads no {part.kind} from one file"
        raise UsageRefused(said, "drop --gguf, or choose another model: vidgen models")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise UsageRefused(f"GGUF file {path} is {kind}", "give a .gguf file")
    try:
        found = header(path)
    except (OSError, ValueError) as error:
        said = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise WeightsRefused(said, "give a whole .gguf file: fetch it again") from error
    _refuse(path, found, card)
    return _measured(path, [tensor for name, tensor in found.tensors.items() if not BESIDE.search(name)], found)


def _refuse(path: Path, found: Header, card: ModelCard) -> None:
    """Refuse (exit 4) a part of a file, what is none of a video model, and what nobody can make whole."""
    parts = found.facts.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        said = f"{path} is one of {parts} parts of a file"
        raise WeightsRefused(said, "join them: llama-gguf-split --merge FIRST-PART WHOLE.gguf")
    named = str(found.facts.get("general.architecture", ""))
    language = any(name.startswith("tokenizer.") for name in found.facts)
    if language or any(name.startswith(LANGUAGE) for name in found.tensors):
        said = f"{path} holds a language model or an encoder ({named or 'unnamed'}), and no transformer"
        raise WeightsRefused(said, f"{ANOTHER.format(card.name)}: its text encoder comes with the model")
    if card.family not in ARCHITECTURES.get(named, {card.family}):
        raise WeightsRefused(f"{path} is of another model than {card.name}: of {named}", ANOTHER.format(card.name))
    strange = sorted({tensor.kind for tensor in found.tensors.values()} - READABLE)
    if strange:
        said = f"{path} holds {' and '.join(strange)}, which Diffusers cannot read"
        raise WeightsRefused(said, "take a file of another type, such as Q4_K_M or Q8_0")


def _measured(path: Path, tensors: list[Tensor], found: Header) -> Stored:
    """How much room it takes: matrices as they are in the file, all else in 16 bits."""
    kinds, blocks = Counter[str](), Counter[tuple[str, str]]()
    for tensor in tensors:
        kinds[tensor.kind] += tensor.count
    for name, tensor in found.tensors.items():
        if block := _block(name):
            blocks[block] += _bytes(tensor)
    return Stored(
        path=path,
        kind=max(kinds, key=lambda kind: kinds[kind], default="empty"),
        held=sum(map(_bytes, tensors)),
        blocks=blocks.total(),
        block=max(blocks.values(), default=0),
        widest=max((tensor.count for tensor in tensors if tensor.packed), default=0),
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.end - tensor.begin if tensor.packed else 2 * tensor.count


def _block(name: str) -> tuple[str, str] | None:
    """The repeated block that a tensor belongs to; the outermost."""
    found = None if BESIDE.search(name) else BLOCK.match(name)
    return (found[1], found[2]) if found else None


def _same(found: Header, part: Component, card: ModelCard, said: Mapping[str, object]) -> None:
    assert part.stored is not None
    path, remedy = part.stored.path, ANOTHER.format(card.name)
    blocks = {block for name in found.tensors if (block := _block(name))}
    counted = part.layers if card.folder is None else 0
    wanted = sum(_number(said, name) for name in LAYERS) if "num_layers" in said else counted
    if wanted and len(blocks) != wanted:
        count = f"{len(blocks)} blocks, and {part.name} of {card.name} has {wanted}"
        raise WeightsRefused(f"{path} is of another model than {card.name}: it has {count}", remedy)
    wide = _number(said, "num_attention_heads") * _number(said, "attention_head_dim")
    sides = Counter(tensor.shape[0] for name, tensor in found.tensors.items() if _block(name) and _square(tensor))
    if wide and sides and wide not in sides:
        count = f"its blocks are {sides.most_common(1)[0][0]} wide, and those of {part.name} of {card.name} {wide}"
        raise WeightsRefused(f"{path} is of another model than {card.name}: {count}", remedy)


def _square(tensor: Tensor) -> bool:
    return len(tensor.shape) == 2 and tensor.shape[0] == tensor.shape[1]


def _number(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) else 0
