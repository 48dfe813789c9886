"""What families share: each text of some jobs embedded once. What an embedding is, a family says."""

from collections.abc import Callable, Sequence

import torch

from vidgen.backends.port import Tensors
from vidgen.core.plan import Job

NEGATIVE = "negative_"
"""In front of the names of the negative prompt's tensors."""


def embedded(jobs: Sequence[Job], embed: Callable[[Job, str], Tensors]) -> list[Tensors]:
    """What `embed` makes of each job's prompt, and of its negative prompt where guidance uses one."""
    known: dict[tuple[str, int], Tensors] = {}
    return [_conditioning(job, embed, known) for job in jobs]


def _conditioning(job: Job, embed: Callable[[Job, str], Tensors], known: dict[tuple[str, int], Tensors]) -> Tensors:
    texts = {"": job.request.prompt}
    if job.request.guidance_scale > 1:
        texts[NEGATIVE] = job.request.negative
    made: dict[str, torch.Tensor] = {}
    for prefix, text in texts.items():
        key = (text, job.card.tokens)
        if key not in known:
            known[key] = embed(job, text)
        made |= {prefix + name: tensor for name, tensor in known[key].items()}
    return made
