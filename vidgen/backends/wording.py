"""How a prompt is to be written: what an enhancer is told to make of it. Knows no model that does it."""

from collections.abc import Mapping

from vidgen.backends import quiet
from vidgen.core.errors import WeightsRefused
from vidgen.core.plan import Job
from vidgen.core.request import Mode

MAKERS: Mapping[str, str] = {
    "ltx-2": "T2V_DEFAULT_SYSTEM_PROMPT",
    "ltx-2.5": "LTX2_5_T2V_DEFAULT_SYSTEM_PROMPT",
}
"""What makers themselves tell an enhancer, by a card's wording: names in Diffusers' own package of LTX-2."""

OURS = """\
You write prompts for a model that makes videos. Turn the user's request into the prompt of one continuous shot.

Keep everything that the user asks for: every subject, action, place, style, spoken word and camera movement. \
Contradict nothing, drop nothing, add no other subject.

Say, in this order and in flowing sentences:
1. The subject: who or what is seen, with its visible details.
2. The action: what it is doing, step by step, in the present tense.
3. The environment: where, with its light, colours and weather{sound}.
4. The camera: the size of the shot, its angle, and one movement (pan, tilt, dolly, tracking shot, crane shot, \
handheld) or none (static).

Describe only what can be seen{heard}: no thoughts, smells or story. Answer with the prompt alone: one paragraph of \
English, at most {most} words, no heading, list, quotation marks or remark.
"""

PICTURED = """\
You write prompts for a model that makes videos. Its video begins with a picture that you do not see. Turn the user's \
request into the prompt of one continuous shot that goes on from there.

Keep everything that the user asks for: every action, spoken word and camera movement. Contradict nothing, drop \
nothing, add no other subject. Never describe how anything looks: the picture shows it.

Say, in flowing sentences and in the present tense: what moves and how, step by step; what else in the scene moves \
with it{sound}; and what the camera does, or that it is static.

Describe only what can be seen{heard}: no thoughts, smells or story. Answer with the prompt alone: one paragraph of \
English, at most {most} words, no heading, list, quotation marks or remark.
"""

MOST_WORDS = 200

TOKENS_A_WORD = 1.6
"""With room to spare: English prose has about 1.3."""


def system(job: Job) -> str:
    """What an enhancer is told for `job`: as the model's makers have it, else in our own words.

    The makers' words for a clip that begins with a picture are for one who sees it, which none here does: then ours.
    """
    wording = job.card.wording
    if wording and wording not in MAKERS:
        raise WeightsRefused(
            f"{job.card.name} wants prompts worded as {wording!r}, which nobody here knows",
            f"use one of {', '.join(MAKERS)} in the model's card, or none",
        )
    if wording and job.request.mode is Mode.T2V:
        return str(quiet.found("diffusers.pipelines.ltx2.utils", MAKERS[wording]))
    sound = job.card.sound and job.request.sound
    return (OURS if job.request.mode is Mode.T2V else PICTURED).format(
        most=min(MOST_WORDS, round(job.card.tokens / TOKENS_A_WORD)),
        sound=", and what is heard" if sound else "",
        heard=" or heard" if sound else "",
    )
