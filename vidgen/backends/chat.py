"""Prompts rewritten by a chat model in a folder: loaded once, asked for each prompt, let go of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from vidgen.backends import pipes, wording
from vidgen.backends.pipes import Kind, Parts
from vidgen.core.card import Component, Phase
from vidgen.core.enhancer import CHATS, Enhancer
from vidgen.core.machine import Device
from vidgen.core.plan import Job, Weights

KINDS: Mapping[str, Kind] = {
    name: Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder) for name in CHATS
}

MOST_TOKENS = 600
"""Of an answer: what Diffusers allows the enhancer of LTX-2.5."""

NO_REPEAT = 5
"""Words in a row that are said once only, as Diffusers has it there: small models fall into loops."""

THOUGHT = re.compile(r"^.*</think>", re.DOTALL)


def rewritten(enhancer: Enhancer, jobs: Sequence[Job]) -> list[str]:
    """What `enhancer` makes of the prompt of each job; the same words to the same model are asked for once."""
    parts = Parts(_home(enhancer, jobs[0]), KINDS)
    made: dict[tuple[str, str], str] = {}
    try:
        held = parts.hold(("model", "tokenizer"))
        for job in jobs:
            asked = (wording.system(job), job.request.prompt)
            if asked not in made:
                made[asked] = _answer(held["model"], held["tokenizer"], *asked, most=min(MOST_TOKENS, job.card.tokens))
    finally:
        parts.close()
    return [made[wording.system(job), job.request.prompt] for job in jobs]


def _home(enhancer: Enhancer, job: Job) -> Job:
    """`job` as if the chat model were its model: all in one folder, on the device that was decided."""
    machine, folder = job.plan.machine, enhancer.folder or Path()
    if Phase.ENCODE in job.plan.rung.host or enhancer.device is Device.CPU:
        machine = replace(machine, device=Device.CPU)
    components = (
        Component(name="model", kind=enhancer.kind),
        Component(name="tokenizer", kind="PreTrainedTokenizerFast"),
    )
    return replace(
        job,
        card=replace(job.card, name=enhancer.name, components=components),
        plan=replace(job.plan, machine=machine),
        weights=Weights(folder=folder, sizes={}, apart={part.name: folder for part in components}),
    )


def _answer(model: Any, tokenizer: Any, system: str, prompt: str, *, most: int) -> str:
    """The model's answer, always the same: the likeliest token each time, nothing left to the folder but its ends."""
    asked = {key: value.to(model.device) for key, value in _question(tokenizer, system, prompt).items()}
    ends = model.generation_config.eos_token_id
    with torch.no_grad(), pipes.seeded(0):
        told = model.generate(
            **asked,
            generation_config=type(model.generation_config)(
                max_new_tokens=most,
                do_sample=False,
                no_repeat_ngram_size=NO_REPEAT,
                eos_token_id=tokenizer.eos_token_id if ends is None else ends,
                pad_token_id=tokenizer.pad_token_id or 0,
            ),
        )
    words: str = tokenizer.decode(told[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return cleaned(words)


def _question(tokenizer: Any, system: str, prompt: str) -> Mapping[str, torch.Tensor]:
    """The tokens of what is asked; templates that know no orders of a system get all in the user's words."""
    user = f"user prompt: {prompt}"
    apart = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    joined = [{"role": "user", "content": f"{system}\n\n{user}"}]
    words: dict[str, Any] = {
        "add_generation_prompt": True,
        "enable_thinking": False,
        "tokenize": False,
    }
    try:
        text = tokenizer.apply_chat_template(apart, **words)
    except TemplateError:
        text = tokenizer.apply_chat_template(joined, **words)
    question: Mapping[str, torch.Tensor] = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    return {name: question[name] for name in ("input_ids", "attention_mask")}


def cleaned(words: str) -> str:
    """An answer as one line: without thoughts, marks of lists and headings, or quotation marks around it."""
    line = " ".join(THOUGHT.sub("", words).split())
    line = "".join(char for char in line if char.isprintable())
    return line.strip('*#`"“” ')
