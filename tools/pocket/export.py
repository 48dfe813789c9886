"""Write the pocket model as an ordinary Diffusers folder in bfloat16: `python -m tools.pocket.export --to FOLDER`."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import LTXPipeline
from torch import nn

from tools.pocket.architecture import SHIPPED, Sizes, make_scheduler, make_text_encoder, make_transformer, make_vae
from tools.pocket.latents import load_scale
from tools.pocket.loop import averaged
from tools.pocket.tokens import make_tokenizer
from tools.pocket.words_stage import load_text_encoder
from vidgen.catalog.cards import BUILT_IN
from vidgen.core.card import NAMED

TOKENIZER_NAME = "PreTrainedTokenizerFast"


def main() -> None:
    """Export the checkpoints of a work folder, or a model that has learnt nothing."""
    options = _options()
    pipeline = untrained(options.seed) if options.untrained else trained(options.checkpoint)
    write(pipeline, options.to)
    size = sum(path.stat().st_size for path in options.to.rglob("*") if path.is_file())
    print(f"{options.to}: {size} bytes")


def untrained(seed: int = 0, sizes: Sizes = SHIPPED) -> LTXPipeline:
    """The architecture with random weights; its output projection is random too, so that every weight matters."""
    torch.manual_seed(seed)
    pipeline = _pipeline(sizes)
    nn.init.normal_(pipeline.transformer.proj_out.weight, std=0.02)
    return pipeline


def trained(work: Path, sizes: Sizes = SHIPPED) -> LTXPipeline:
    """The averaged weights of the stages, with the latents' scale put into the VAE."""
    pipeline = _pipeline(sizes)
    pipeline.text_encoder.load_state_dict(load_text_encoder(work / "words.pt", sizes).state_dict())
    pipeline.vae.load_state_dict(averaged(work / "vae.pt"))
    if (work / "decoder.pt").exists():
        pipeline.vae.decoder.load_state_dict(averaged(work / "decoder.pt"))
    pipeline.transformer.load_state_dict(averaged(work / "dit.pt"))
    scale = load_scale(work / "scale.pt")
    pipeline.vae.latents_mean.copy_(scale.mean)
    pipeline.vae.latents_std.copy_(scale.spread)
    return pipeline


def write(pipeline: LTXPipeline, folder: Path) -> None:
    """Save in bfloat16, call the tokenizer by a name that every version of Transformers knows, and sum up the files."""
    for part in (pipeline.vae, pipeline.transformer, pipeline.text_encoder):
        part.to(torch.bfloat16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for path in (folder / "model_index.json", folder / "tokenizer" / "tokenizer_config.json"):
        path.write_text(path.read_text().replace("TokenizersBackend", TOKENIZER_NAME))
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), NAMED: BUILT_IN}, indent=2) + "\n")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    ]
    for path in files:
        path.chmod(0o644)
    (folder / "SHA256SUMS").write_text("".join(sums))


def _pipeline(sizes: Sizes) -> LTXPipeline:
    tokenizer = make_tokenizer()
    parts: dict[str, Any] = {
        "scheduler": make_scheduler(),
        "vae": make_vae(sizes),
        "text_encoder": make_text_encoder(len(tokenizer), sizes),
        "tokenizer": tokenizer,
        "transformer": make_transformer(sizes),
    }
    return LTXPipeline(**parts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="the work folder of tools.pocket.train")
    source.add_argument("--untrained", action="store_true", help="random weights of the right architecture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
