"""How much memory each phase needs: weights by exact parameter counts, and the work beside them where it is known."""

from vidgen.core.card import Guidance, ModelCard, Phase, Way
from vidgen.core.plan import Canvas, PhasePlan, Placement, Precision, Rung, Weights
from vidgen.core.request import Request

GIB = 2**30


def phases(request: Request, card: ModelCard, canvas: Canvas, weights: Weights, rung: Rung) -> tuple[PhasePlan, ...]:
    """Each phase of `request` on `rung`: components held, GiB of their weights, GiB of work."""
    way = card.ways[request.mode]
    return tuple(
        PhasePlan(
            phase=phase,
            components=way.phases[phase],
            weights_gib=_held(phase, way, card, weights, rung),
            work_gib=_work(phase, request, card, canvas, rung),
        )
        for phase in Phase
    )


def component_gib(name: str, card: ModelCard, weights: Weights, precision: Precision) -> float:
    """One component's weights in memory; by its size on disk where the parameter count is not known."""
    component = card.component(name)
    parameters = component.parameters or weights.sizes.get(name, 0) / Precision.BF16.bytes
    if component.wide:
        return parameters * Precision.FP32.bytes / GIB
    held = component.blocks * precision.bytes + (1 - component.blocks) * precision.computed.bytes
    return parameters * held / GIB


def _held(phase: Phase, way: Way, card: ModelCard, weights: Weights, rung: Rung) -> float:
    held = set(way.phases[phase])
    if rung.placement is Placement.RESIDENT:
        held = {name for names in way.phases.values() for name in names}
    return sum(component_gib(name, card, weights, rung.precision) for name in held)


def _work(phase: Phase, request: Request, card: ModelCard, canvas: Canvas, rung: Rung) -> float:
    """Activations: latent tokens through the transformer, pixels through the decoder."""
    frames = min(canvas.frames, card.cost.frames or canvas.frames)
    decoded = min(frames, card.cost.decoded or frames)
    wide = rung.precision.computed.bytes / Precision.BF16.bytes
    if phase is Phase.DENOISE:
        latents = (frames - 1) // card.grid.frames + 1
        tokens = latents * (canvas.width // card.grid.size) * (canvas.height // card.grid.size)
        largest = card.refine is None or card.refine.guided  # a first stage has a quarter of the tokens
        batched = largest and card.schedule.guidance is not Guidance.EMBEDDED and request.guidance_scale > 1
        passes = 2 if batched and not card.cost.turns else 1
        pairs = tokens**2 * card.cost.pair_bytes / GIB
        kib = (request.keyframes and card.cost.pictured_kib) or card.cost.token_kib
        drawn = passes * (tokens * kib * wide / 2**20 + pairs)
        seen = canvas.width * canvas.height * card.cost.picture_bytes * wide / GIB if request.keyframes else 0.0
        return max(drawn, seen)
    if phase is Phase.DECODE:
        whole = canvas.width * canvas.height * decoded * card.cost.pixel_bytes / GIB
        tile = card.cost.tile_gib * min(1.0, rung.tiling / card.cost.tile) ** 2
        return (min(tile, whole) if rung.tiling else whole) * wide
    return 0.0
