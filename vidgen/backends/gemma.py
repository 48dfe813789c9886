"""Prompts rewritten by LTX-2's own text encoder, which is a chat model: as Diffusers has it, by its own method."""

from collections.abc import Sequence
from typing import Any

from vidgen.backends import pipes, wording
from vidgen.core.plan import Job

SEED = 10
"""Diffusers' own: the same words are rewritten alike for every clip, whatever its seed."""

AS_DIFFUSERS: dict[str, Any] = {
    "max_new_tokens": 512,
    "seed": SEED,
    "generator": None,
    "generation_kwargs": {"do_sample": True, "temperature": 0.7},
    "device": None,
    "image": None,
}
"""What Diffusers takes for a text encoder that is its own enhancer, said to it."""


class Reader:
    """Stands in a pipeline for the processor of words and pictures, where there are words alone."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, *, text: str, images: None, return_tensors: str) -> Any:
        """The tokens of `text`."""
        return self.tokenizer(text, return_tensors=return_tensors)


def rewritten(pipe: Any, jobs: Sequence[Job]) -> list[str]:
    """What the text encoder of `pipe` makes of the prompt of each job; the same words are asked for once."""
    pipe.processor = Reader(pipe.tokenizer)
    made: dict[tuple[str, str], str] = {}
    for job in jobs:
        asked = (job.request.prompt, wording.system(job))
        if asked not in made:
            with pipes.seeded(SEED):
                (answer,) = pipe.enhance_prompt(*asked, **AS_DIFFUSERS)
            made[asked] = answer.strip()
    return [made[job.request.prompt, wording.system(job)] for job in jobs]
