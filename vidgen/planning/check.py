"""Can this model serve this request, and on which canvas? Pure: a canvas and sentences out, or a refusal."""

from collections.abc import Iterator, Sequence

from vidgen.core.card import Guidance, ModelCard
from vidgen.core.errors import UsageRefused
from vidgen.core.plan import Canvas
from vidgen.core.request import Gguf, Mode, Request
from vidgen.core.windows import windows
from vidgen.core.words import parted

FEW = 3
"""So much fewer steps than a card's own are a distilled model's, where they are unguided too."""
CHOOSE = "add --no-enhance, or choose another model: vidgen models"


def check(request: Request, card: ModelCard) -> tuple[Canvas, tuple[str, ...]]:
    """The canvas for the request, and every adjustment in a sentence. Refuses (exit 2) what the model cannot do."""
    _mode(request, card)
    _prompt(request, card)
    _schedule(request, card)
    _keyframes(request, card)
    _loras(request, card)
    _ggufs(request, card)
    _enhance(request, card)
    canvas = draw(request, card)
    if card.several:
        _told(request, card, canvas)
    if request.strict:
        _strict(request, card)
    return canvas, tuple(_adjustments(request, canvas, card))


def draw(request: Request, card: ModelCard) -> Canvas:
    """The smallest canvas on the model's grid that holds the request, the clip in its middle."""
    width, height = _up(request.width, card.grid.size), _up(request.height, card.grid.size)
    return Canvas(
        width=width,
        height=height,
        frames=_up(request.frames - 1, card.grid.frames) + 1,
        left=(width - request.width) // 2,
        top=(height - request.height) // 2,
    )


def _up(length: int, grid: int) -> int:
    return -(-length // grid) * grid


def _mode(request: Request, card: ModelCard) -> None:
    if request.mode not in card.ways:
        modes = ", ".join(card.ways)
        raise UsageRefused(f"{card.name} cannot do {request.mode} (it does {modes})", "choose a model: vidgen models")


def _prompt(request: Request, card: ModelCard) -> None:
    if not request.prompt.strip():
        raise UsageRefused("the prompt is empty", 'say what the clip shows: vidgen t2v "a red circle moving right"')
    for name, text in (("prompt", request.prompt), ("negative prompt", request.negative)):
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UsageRefused(f"the {name} is not valid UTF-8", "save it as UTF-8 and use --prompt-file")
        if "\0" in text:
            raise UsageRefused(f"the {name} holds a NUL character", "remove it")
    if card.several and not all(parted(request.prompt)):
        raise UsageRefused("a prompt between two bars is empty", "say something there, or remove a bar")
    _guided(request, card)
    if request.negative and not card.negative:
        raise UsageRefused(f"{card.name} takes no negative prompt", "say in the prompt what you want instead")


def _told(request: Request, card: ModelCard, canvas: Canvas) -> None:
    """Refuse more prompts than there are windows to read them."""
    told, read = len(parted(request.prompt)), windows(card, canvas.frames)
    if told > read:
        raise UsageRefused(
            f"{told} prompts, and windows for so many in a clip that long: {read}; some would not be read",
            "make the clip longer, or leave some out",
        )


def _guided(request: Request, card: ModelCard) -> None:
    """Refuse what only true classifier-free guidance reads, where it was not asked for or cannot be."""
    embedded = card.negative and card.schedule.guidance is Guidance.EMBEDDED
    if request.true_cfg_scale > 1 and not embedded:
        raise UsageRefused(f"{card.name} has no true CFG scale beside its guidance scale", "drop --true-cfg-scale")
    if request.negative and request.true_cfg_scale <= 1 and embedded:
        raise UsageRefused(
            f"the guidance of {card.name} is embedded and reads no negative prompt",
            "add --true-cfg-scale 4, which takes twice the time, or say in the prompt what you want instead",
        )


def _schedule(request: Request, card: ModelCard) -> None:
    for said, remedy in _liberties(request, card):
        if not request.force:
            raise UsageRefused(said, f"{remedy}, or add --force")
        if request.strict:
            raise UsageRefused(f"{said}, and strict allows no --force", f"{remedy}, or add --no-strict")


def _liberties(request: Request, card: ModelCard) -> Iterator[tuple[str, str]]:
    """What of the steps and the guidance the model was not made for, each with what to do about it."""
    fixed, scale = card.schedule.fixed, request.guidance_scale
    if fixed and request.steps not in fixed:
        named = " or ".join(map(str, fixed))
        yield (
            f"{card.name} is distilled to {named} steps; {request.steps} would not sample it rightly",
            "drop --steps" if len(fixed) == 1 else f"use --steps {named}",
        )
    if card.schedule.guidance is Guidance.DISTILLED and scale > 1:
        yield f"{card.name} is distilled: its guidance scale is 1, not {scale:g}", "drop --guidance-scale"
    if _as_if_distilled(request, card):
        yield (
            f"{card.name} is not distilled: {request.steps} steps at guidance scale {scale:g} are too few for it",
            "drop --steps or --guidance-scale",
        )


def _as_if_distilled(request: Request, card: ModelCard) -> bool:
    """Whether a full model is asked for in the few unguided steps of a distilled one. A LoRA may be what distils it."""
    own = card.ways[request.mode].guidance_scale
    usual = float(str(card.defaults["guidance_scale"])) if own is None else own
    unguided = max(request.guidance_scale, request.true_cfg_scale) <= 1 < usual
    return unguided and request.steps * FEW < int(str(card.defaults["steps"])) and not request.loras


def _keyframes(request: Request, card: ModelCard) -> None:
    if request.mode is Mode.T2V:
        return
    if not request.keyframes:
        raise UsageRefused(f"{request.mode} needs a picture", "give one with --at 0:first.png")
    most = card.ways[request.mode].keyframes
    if len(request.keyframes) > most:
        raise UsageRefused(f"{card.name} takes {most} pictures, not {len(request.keyframes)}", "leave some out")
    if card.ways[request.mode].ends:
        _ends(request, card)
    seen: set[int] = set()
    for keyframe in request.keyframes:
        if not 0 <= keyframe.frame < request.frames:
            raise UsageRefused(
                f"keyframe {keyframe.picture} is at frame {keyframe.frame}, outside 0 to {request.frames - 1}",
                f"use a frame from 0 to {request.frames - 1}, or -1 for the last",
            )
        if keyframe.frame in seen:
            raise UsageRefused(f"two keyframes are at frame {keyframe.frame}", "move or remove one")
        seen.add(keyframe.frame)


def _ends(request: Request, card: ModelCard) -> None:
    """Refuse all but a picture of the first frame and one of the last, which must not be cut off with its canvas."""
    last = request.frames - 1
    if last % card.grid.frames:
        below, above = _around(last, card.grid.frames, least=card.grid.frames)
        raise UsageRefused(
            f"{card.name} ends on its last picture after {card.grid.frames}k+1 frames, which {request.frames} is not",
            f"try --frames {below + 1} or {above + 1}",
        )
    if sorted(keyframe.frame for keyframe in request.keyframes) != [0, last]:
        raise UsageRefused(
            f"{card.name} takes two pictures: of the first frame and of the last",
            "give --at 0:first.png --at -1:last.png",
        )
    if any(keyframe.strength != 1 for keyframe in request.keyframes):
        raise UsageRefused(f"{card.name} takes its pictures at strength 1", "leave the strength out")


def _loras(request: Request, card: ModelCard) -> None:
    if request.loras and not card.loras:
        raise UsageRefused(f"{card.name} takes no LoRA", "choose a model that does: vidgen models")
    for lora in request.loras:
        if lora.path.suffix != ".safetensors":
            raise UsageRefused(
                f"LoRA {lora.path} is not a .safetensors file", "only safetensors are loaded: convert it"
            )


def _ggufs(request: Request, card: ModelCard) -> None:
    if request.ggufs and request.precision != "auto":
        said = f"precision {request.precision} does not go with a GGUF file, which says itself how it is held"
        raise UsageRefused(said, "drop --precision, or write --precision auto")
    named(request.ggufs, card)


def named(ggufs: Sequence[Gguf], card: ModelCard) -> None:
    """Refuse (exit 2) files for what is no transformer of the model; where there is only a decoder, none counts."""
    names = [part.name for part in card.components if part.name.startswith("transformer") and not part.file]
    for number, gguf in enumerate(ggufs if names else ()):
        if gguf.component not in names:
            raise UsageRefused(
                f"{card.name} has no {gguf.component} to come from {gguf.path}",
                f"name {' or '.join(names)}: --gguf {names[-1]}=FILE",
            )
        if gguf.component in {other.component for other in ggufs[:number]}:
            raise UsageRefused(f"two GGUF files are given for {gguf.component}", f"give one, or {names[-1]}=FILE")


def _enhance(request: Request, card: ModelCard) -> None:
    if not request.enhance:
        return
    if card.knows:
        raise UsageRefused(f"{card.name} draws only {card.knows}, which no enhancer keeps to", CHOOSE)
    if card.several and len(parted(request.prompt)) > 1:
        raise UsageRefused("several prompts would be enhanced into one", "drop --enhance, or give one prompt")
    if request.enhancer is None and not card.enhances:
        raise UsageRefused(
            f"{card.name} has no enhancer of its own", "name the folder of a chat model: --enhancer ./that-folder"
        )


def _strict(request: Request, card: ModelCard) -> None:
    for name, length in (("width", request.width), ("height", request.height)):
        if length % card.grid.size:
            below, above = _around(length, card.grid.size)
            raise UsageRefused(
                f"{name} {length} is off {card.name}'s grid of {card.grid.size}", f"try {name} {below} or {above}"
            )
    if (request.frames - 1) % card.grid.frames:
        below, above = _around(request.frames - 1, card.grid.frames, least=0)
        raise UsageRefused(
            f"{request.frames} frames are off {card.name}'s grid of {card.grid.frames}k+1",
            f"try --frames {below + 1} or {above + 1}",
        )


def _around(length: int, grid: int, *, least: int | None = None) -> tuple[int, int]:
    below = max(length // grid * grid, grid if least is None else least)
    return below, below + grid


def _adjustments(request: Request, canvas: Canvas, card: ModelCard) -> Iterator[str]:
    asked = (request.width, request.height, request.frames)
    if asked != (canvas.width, canvas.height, canvas.frames):
        yield (
            f"drawn at {canvas.width}x{canvas.height}, {canvas.frames} frames, on {card.name}'s grid; "
            f"cut to the {request.width}x{request.height}, {request.frames} frames asked for"
        )
    for said, _ in _liberties(request, card):
        yield f"forced: {said}"
    read = max(request.guidance_scale, request.true_cfg_scale) > 1
    if request.negative and not read and request.negative != card.defaults["negative"]:
        yield f"the negative prompt has no effect at guidance scale {request.guidance_scale:g}"
