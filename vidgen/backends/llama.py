"""Prompts read by Llama within a template and by CLIP as they are: what HunyuanVideo and FramePack share.

The template, and how much of it is cut off again, are the pipelines' own constants.
"""

from collections.abc import Mapping
from typing import Any

import torch

from vidgen.backends import pipes, quiet
from vidgen.backends.pipes import Kind
from vidgen.backends.port import Tensors
from vidgen.core.card import Guidance
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

WRITTEN = Kind(
    module="transformers", read=pipes.tokenizer, card="tokenizer_config.json", instead="PreTrainedTokenizerFast"
)
"""A tokenizer exactly as its tokenizer.json has it: LlamaTokenizer of Transformers 5 puts Llama 2's cutting of words in
its place, and Llama 3 then reads no spaces. See https://github.com/huggingface/transformers/issues/45488."""

KINDS: Mapping[str, Kind] = {
    "LlamaModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "CLIPTextModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "LlamaTokenizer": WRITTEN,
    "LlamaTokenizerFast": WRITTEN,
    "CLIPTokenizer": Kind(module="transformers", read=pipes.tokenizer, card="tokenizer_config.json"),
}


def embed(pipe: Any, job: Job, text: str, pictures: Mapping[str, Any]) -> Tensors:
    """One text, read in the template of `pipe`. Refuses a tokenizer that reads the template otherwise (exit 4)."""
    template = quiet.found(type(pipe).__module__, "DEFAULT_PROMPT_TEMPLATE")
    _reads(pipe.tokenizer, template, job)
    if any(mark in text for mark in pipe.tokenizer.get_added_vocab()):
        raise UsageRefused("the prompt holds a mark of the model's own, such as <|eot_id|>", "remove it")
    with torch.no_grad(), quiet.hushed():
        embeds, pooled, mask = pipe.encode_prompt(
            **pictures,
            prompt=text,
            prompt_2=None,
            prompt_template=template,
            num_videos_per_prompt=1,
            prompt_embeds=None,
            pooled_prompt_embeds=None,
            prompt_attention_mask=None,
            device=None,
            dtype=None,
            max_sequence_length=job.card.tokens,
        )
    return pipes.on_disk({"prompt_embeds": embeds, "pooled_prompt_embeds": pooled, "prompt_attention_mask": mask})


def true_cfg_scale(job: Job) -> float:
    """The scale of classifier-free guidance: the guidance scale itself, where none is embedded in the weights."""
    embedded = job.card.schedule.guidance is Guidance.EMBEDDED
    return job.request.true_cfg_scale if embedded else job.request.guidance_scale


def texts(job: Job, conditioning: Tensors, device: str) -> dict[str, torch.Tensor | None]:
    """The arguments of a pipeline that stand for its prompts."""
    names = ["prompt_embeds", "pooled_prompt_embeds", "prompt_attention_mask"]
    negatives = [f"negative_{name}" for name in names]
    if true_cfg_scale(job) > 1:
        names += negatives
    return {**dict.fromkeys(negatives), **{name: conditioning[name].to(device) for name in names}}


def _reads(tokenizer: Any, template: Mapping[str, Any], job: Job) -> None:
    """Refuse a tokenizer for which the template is not as long as what is cut off: it would cut the prompt, or leave
    some of the template."""
    found = len(tokenizer(template["template"].partition("{}")[0]).input_ids)
    if found != template["crop_start"]:
        raise WeightsRefused(
            f"the tokenizer of {job.card.name} reads the template of prompts as {found} tokens, "
            f"not {template['crop_start']}",
            "its files are damaged or another model's: vidgen download --repair MODEL mends downloaded ones",
        )
