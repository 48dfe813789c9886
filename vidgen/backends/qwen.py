"""Prompts read by Qwen within a template, and by ByT5 where they quote: what HunyuanVideo-1.5 draws, and letters in it.

The template, and how much of it is cut off again, are the pipelines' own constants.
"""

from collections.abc import Mapping
from typing import Any

import torch

from vidgen.backends import pipes, quiet
from vidgen.backends.pipes import Kind
from vidgen.backends.port import Tensors
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

PIPELINE = "diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5"
WORDS = Kind(module="transformers", read=pipes.tokenizer, card="tokenizer_config.json")

KINDS: Mapping[str, Kind] = {
    "Qwen2_5_VLTextModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "Qwen2Tokenizer": WORDS,
    "Qwen2TokenizerFast": WORDS,
    # it reads bytes, and has no vocabulary that could be missing
    "ByT5Tokenizer": Kind(module="transformers", read=pipes.light, card="tokenizer_config.json"),
}

EMBEDS = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")
"""What `encode_prompt` gives, in its order."""


def embed(pipe: Any, job: Job, text: str, dtype: torch.dtype) -> Tensors:
    """One text by both encoders. Refuses a tokenizer that reads the template otherwise (exit 4)."""
    pipe.tokenizer_max_length = job.card.tokens
    pipe.tokenizer_2_max_length = _limit(job)
    _reads(pipe, job, text)
    with torch.no_grad(), quiet.hushed():
        found = pipe.encode_prompt(
            prompt=text,
            device=pipe.device,
            dtype=dtype,
            batch_size=1,
            num_videos_per_prompt=1,
            prompt_embeds=None,
            prompt_embeds_mask=None,
            prompt_embeds_2=None,
            prompt_embeds_mask_2=None,
        )
    return pipes.on_disk(dict(zip(EMBEDS, found, strict=True)))


def guided(job: Job) -> bool:
    """Whether there is a pass for the negative prompt too."""
    return job.request.guidance_scale > 1


def texts(job: Job, conditioning: Tensors, device: str) -> dict[str, torch.Tensor | None]:
    """The arguments of a pipeline that stand for its prompts."""
    negatives = [f"negative_{name}" for name in EMBEDS]
    names = [*EMBEDS, *(negatives if guided(job) else ())]
    return {**dict.fromkeys(negatives), **{name: conditioning[name].to(device) for name in names}}


def quotes(job: Job) -> None:
    """Refuse (exit 2) more text between quotation marks than is read: the rest would be cut without a word."""
    for text in (job.request.prompt, job.request.negative if guided(job) else ""):
        length = quoted(text)
        if length > _limit(job):
            raise UsageRefused(
                f"the text in quotation marks comes to {length} bytes, and {job.card.name} reads {_limit(job)}",
                "quote less of it",
            )


def quoted(text: str) -> int:
    """Bytes of a text's quotations as they are read, with the mark at their end; 0 where there are none."""
    words: str | None = quiet.found(PIPELINE, "extract_glyph_texts")(text)
    return len(words.encode()) + 1 if words else 0


def _limit(job: Job) -> int:
    """How many bytes of quoted text the second encoder reads, its end mark among them."""
    return int(str(job.card.settings["glyphs"]))


def _reads(pipe: Any, job: Job, text: str) -> None:
    """Refuse a tokenizer whose template is not as long as what is cut off (exit 4), and a mark of the model's own."""
    if any(mark in text for mark in pipe.tokenizer.get_added_vocab()):
        raise UsageRefused("the prompt holds a mark of the model's own, such as <|im_end|>", "remove it")
    within = quiet.found(PIPELINE, "format_text_input")(["a", "b"], pipe.system_message)
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    try:
        one, other = pipe.tokenizer.apply_chat_template(within, **options).input_ids
        found = next(place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    except (ValueError, StopIteration):
        found = 0
    if found != pipe.prompt_template_encode_start_idx:
        raise WeightsRefused(
            f"the tokenizer of {job.card.name} reads the template of prompts as {found} tokens, "
            f"not {pipe.prompt_template_encode_start_idx}",
            "its files are damaged or another model's: vidgen download --repair MODEL mends downloaded ones",
        )
