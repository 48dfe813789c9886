"""How much memory each phase needs: weights by exact parameter counts, and the work beside them where it is known."""

from collections.abc import Mapping

from vidgen.core.card import Component, Guidance, ModelCard, Phase, Way
from vidgen.core.plan import Canvas, PhasePlan, Placement, Precision, Rung, Weights
from vidgen.core.request import Request

GIB = 2**30

AHEAD = 2
"""Streamed blocks that are on the device at once: the one at work, and the next on its way."""

FILMS = 3.25
"""Films of the canvas that the host holds at the end, as what was drawn in tiles is joined there: counted on the meta
device, 4.6 GiB for 121 frames of 1920x1088 at 16 bits."""

PIECE, PIECES = 64, 1.25
"""Frames of a piece that leaves the device when its tiles are joined, and pieces that it holds beside the tile."""

UNPACKED: Mapping[str, float] = {"Q5_0": 10.0, "Q5_1": 10.0, "Q5_K": 7.2, "IQ4_NL": 12.0, "IQ4_XS": 12.3}
UNPACKED_ELSE = 5.4
"""Bytes of each value of a matrix of a GGUF file beside it, while it is made whole: counted with Diffusers 0.42.1."""

KERNELS_GIB = 0.15
"""What a processor's libraries take while they compute, measured with LTX-Video 2B: docs/measurements/processor.md."""

SHRUNK_GIB = 0.1
"""What the libraries take that hold weights in less, measured: docs/measurements/processor.md."""

STREAMED = frozenset({Placement.STREAM, Placement.DISK})


def phases(
    request: Request, card: ModelCard, canvas: Canvas, weights: Weights, rung: Rung, *, one: bool = False
) -> tuple[PhasePlan, ...]:
    """Each phase of `request` on `rung`: components held, GiB of their weights, GiB of work, GiB beside the device.

    `one`: the device has no memory of its own, but the host's.
    """
    return tuple(_phase(phase, request, card, canvas, weights, rung, one) for phase in Phase)


def component_gib(name: str, card: ModelCard, weights: Weights, precision: Precision) -> float:
    """One component's weights in memory; by its size on disk where the parameter count is not known."""
    component = card.component(name)
    if component.stored:
        return component.stored.held / GIB
    if component.wide:
        precision = Precision.FP32
    return parameters(component, weights) * _bytes(component.blocks, precision) / GIB


def parameters(component: Component, weights: Weights) -> float:
    """How many a component has; guessed from its size on disk where its card does not say."""
    return component.parameters or weights.sizes.get(component.name, 0) / Precision.BF16.bytes


def block_gib(component: Component, precision: Precision) -> float:
    """The largest of the repeated blocks of a component that can be streamed."""
    if component.stored:
        return component.stored.block / GIB
    return component.block * _bytes(component.blocks / component.stacked, precision) / GIB


def streamed_gib(component: Component, weights: Weights, precision: Precision, resident: int = 0) -> float:
    """What of a component is on the device while its blocks are streamed and `resident` of them stay."""
    if component.stored:
        rest, stack = (component.stored.held - component.stored.blocks) / GIB, component.stored.blocks / GIB
    else:
        every = parameters(component, weights)
        rest = every * (1 - component.stacked) * precision.computed.bytes / GIB
        stack = every * component.stacked * _bytes(component.blocks / component.stacked, precision) / GIB
    some = (resident + AHEAD) * block_gib(component, precision)
    return rest + (stack if resident + AHEAD >= component.layers else min(some, stack))


def held_in(name: str, rung: Rung) -> Precision:
    """The precision of a component's weights on `rung`."""
    return rung.encoder if rung.encoder and name.startswith("text_encoder") else rung.precision


def latent_tokens(card: ModelCard, canvas: Canvas) -> int:
    """How many the transformer sees at once."""
    latents = (_drawn(card, canvas) - 1) // card.grid.frames + 1
    return latents * (canvas.width // card.grid.size) * (canvas.height // card.grid.size)


def batched(request: Request, card: ModelCard) -> bool:
    """Whether the passes of guidance are made at once, in the memory of two; of two stages the larger one counts."""
    largest = card.refine is None or card.refine.guided
    guided = card.schedule.guidance is not Guidance.EMBEDDED and request.guidance_scale > 1
    return largest and guided and not card.cost.turns


def _bytes(blocks: float, precision: Precision) -> float:
    """Bytes of a parameter on average, where a share of them is in `blocks`."""
    return blocks * precision.bytes + (1 - blocks) * precision.computed.bytes


def _phase(
    phase: Phase, request: Request, card: ModelCard, canvas: Canvas, weights: Weights, rung: Rung, one: bool
) -> PhasePlan:
    way = card.ways[request.mode]
    at_home = phase in rung.host
    held, work = _held(phase, way, card, weights, rung), _work(phase, request, card, canvas, rung)
    film = _film(card, canvas) if phase is Phase.DECODE and rung.tiling and card.cost.tile_gib else 0.0
    if one or at_home:
        shrunk = rung.precision.quantized or held_in("text_encoder", rung).quantized
        work = max(work, FILMS * film) + KERNELS_GIB + SHRUNK_GIB * shrunk
        held = max(held, _packing(phase, way, card, rung))
    return PhasePlan(
        phase=phase,
        components=way.phases[phase],
        weights_gib=0.0 if at_home else held,
        work_gib=0.0 if at_home else work,
        host_gib=held + work if at_home else max(_beside(phase, way, card, weights, rung), FILMS * film),
    )


def _held(phase: Phase, way: Way, card: ModelCard, weights: Weights, rung: Rung) -> float:
    """The weights on the device."""
    held = set(way.phases[phase])
    if rung.placement is Placement.RESIDENT:
        held = {name for names in way.phases.values() for name in names}
    resident = rung.resident if phase is Phase.DENOISE else 0
    only = phase is Phase.DECODE and rung.placement is not Placement.RESIDENT
    return sum(
        streamed_gib(card.component(name), weights, held_in(name, rung), resident)
        if rung.placement in STREAMED and card.component(name).streams and phase not in rung.host
        else component_gib(name, card, weights, held_in(name, rung)) * ((only and card.component(name).decoder) or 1.0)
        for name in held
    )


def _beside(phase: Phase, way: Way, card: ModelCard, weights: Weights, rung: Rung) -> float:
    """What passes through the host's memory: streamed weights stay there whole, others one component after another.

    Blocks that come from disk pass through it one by one.
    """
    stay = through = 0.0
    for name in way.phases[phase]:
        component, precision = card.component(name), held_in(name, rung)
        whole = component_gib(name, card, weights, precision)
        if not component.streams or rung.placement not in STREAMED:
            through = max(through, whole)
        elif rung.placement is Placement.STREAM:
            stay += whole
        else:
            through = max(through, streamed_gib(component, weights, precision))
    return max(stay, through, _packing(phase, way, card, rung))


def _packing(phase: Phase, way: Way, card: ModelCard, rung: Rung) -> float:
    """What the first start takes of the host's memory to quantize what is then read from disk: one block as it was.

    Elsewhere the quantized component is there whole afterwards, and that is more.
    """
    if rung.placement is not Placement.DISK:
        return 0.0
    streamed = [(card.component(name), held_in(name, rung)) for name in way.phases[phase]]
    return max(
        (block_gib(part, each.computed) for part, each in streamed if part.streams and each.quantized), default=0.0
    )


def _work(phase: Phase, request: Request, card: ModelCard, canvas: Canvas, rung: Rung) -> float:
    """Activations: latent tokens through the transformer, pixels through the decoder."""
    wide = rung.precision.computed.bytes / Precision.BF16.bytes
    if phase is Phase.DENOISE:
        tokens = latent_tokens(card, canvas)
        passes = 2 if batched(request, card) and not rung.turns else 1
        pairs = tokens**2 * card.cost.pair_bytes / GIB
        kib = (request.keyframes and card.cost.pictured_kib) or card.cost.token_kib
        widened = card.cost.widened if wide > 1 else 1.0
        drawn = passes * (tokens * kib * widened / 2**20 + pairs) + _unpacked(card)
        seen = canvas.width * canvas.height * card.cost.picture_bytes * wide / GIB if request.keyframes else 0.0
        return max(drawn, seen)
    if phase is Phase.DECODE:
        always = any(card.component(name).wide for name in card.ways[request.mode].phases[phase])
        return _decoded(card, canvas, rung.tiling) * (1.0 if always else wide)
    return 0.0


def _unpacked(card: ModelCard) -> float:
    """The largest matrix of a GGUF file, while it is made whole."""
    stored = (part.stored for part in card.components if part.stored)
    return max((each.widest * UNPACKED.get(each.kind, UNPACKED_ELSE) for each in stored), default=0.0) / GIB


def _decoded(card: ModelCard, canvas: Canvas, side: int) -> float:
    """What the decoder takes beside its weights, whole or in tiles."""
    cost, frames = card.cost, _drawn(card, canvas)
    pixels = canvas.width * canvas.height
    whole = pixels * min(frames, cost.decoded or frames) * cost.pixel_bytes / GIB
    if not side:
        return whole
    tile = cost.tiles_gib.get(side) or cost.tile_gib * min(1.0, side / cost.tile) ** 2
    piece = _film(card, canvas) * min(1.0, PIECE / frames) if cost.tile_gib else 0.0
    return min(tile + PIECES * piece, whole)


def _film(card: ModelCard, canvas: Canvas) -> float:
    """All frames of a decoded canvas at 16 bits."""
    return canvas.width * canvas.height * _drawn(card, canvas) * 3 * Precision.BF16.bytes / GIB


def _drawn(card: ModelCard, canvas: Canvas) -> int:
    """The frames that are drawn at once."""
    return min(canvas.frames, card.cost.frames or canvas.frames)
