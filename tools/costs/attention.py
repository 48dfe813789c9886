"""The page of what attention takes with the masks of Diffusers and without them."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tools.costs.count import blueprint, default
from vidgen.backends.attention import WAYS
from vidgen.backends.counting.calls import Asked
from vidgen.backends.counting.figures import GIB
from vidgen.backends.counting.passes import Pass, one_pass
from vidgen.catalog import cards
from vidgen.core.card import ModelCard
from vidgen.core.request import Mode

PAGE = Path(__file__).parent.parent.parent / "docs" / "measurements" / "attention.md"

MODELS = (
    *("hunyuan-video", "hunyuan-video-i2v", "framepack"),
    *("hunyuan-video-1.5-480p-t2v", "hunyuan-video-1.5-720p-t2v"),
    *("ltx-video-2b-0.9.5", "ltx-video-13b-0.9.7-dev", "ltx-2-19b-dev"),
    *("wan-2.1-t2v-1.3b", "wan-2.2-t2v-a14b", "cogvideox-5b", "mochi-1"),
)
"""One of each kind."""

WORDS = 64
"""Tokens of a prompt of two or three sentences, the rest of the longest being padding."""

BY_ITSELF = {
    "CogVideoXTransformer3DModel": "attends to its padding: nothing to do",
    "HunyuanVideo15Transformer3DModel": "padding left out, no mask",
    "HunyuanVideoFramepackTransformer3DModel": "leaves padding out by itself: nothing to do",
    "HunyuanVideoTransformer3DModel": "padding left out, no mask",
    "LTX2VideoTransformer3DModel": "has no padding after its connectors: no mask",
    "LTXVideoTransformer3DModel": "padding left out; no mask, or one to the end of the longer text",
    "MochiTransformer3DModel": "leaves padding out by itself: nothing to do",
    "WanTransformer3DModel": "attends to its padding: nothing to do",
}

HEAD = """# Attention without masks

Diffusers pads every prompt to the longest that a model reads, and hides the padding by a mask: one that fast kernels do
not take, and that HunyuanVideo-1.5 writes out for all pairs of tokens in every block. vidgen leaves padding out before
the transformer reads it ([`attention.py`](../../vidgen/backends/attention.py)); what was hidden weighed nothing, so
pictures differ by the order of sums alone: less than 0.00001 at 32 bits, which
[a test](../../tests/backends/test_attention.py) holds each family to.

Activations and attention's arithmetic of one pass, at each model's own size and length, 16 bits, weights not counted;
the prompt has {words} tokens. Counted on the meta device by `python -m tools.costs --attention` on {today}, with
diffusers {diffusers} and torch {torch}: no card was used, and what a kernel keeps for itself is not in it. A mask of
true and false counts once more in 16 bits, as torch writes it out for its kernels.

| model | size | stock GiB | vidgen GiB | stock PFLOP | vidgen PFLOP | |
|---|---|---|---|---|---|---|
"""


def write(today: str) -> None:
    """Count one model of each kind, and write the page."""
    torch = version("torch").partition("+")[0]
    text = HEAD.format(words=WORDS, today=today, diffusers=version("diffusers"), torch=torch)
    PAGE.write_text(text + "".join(_row(cards.card(name)) for name in MODELS), encoding="utf-8")


def _row(card: ModelCard) -> str:
    plan, canvas, asked = blueprint(card), default(card), Asked(pictured=Mode.T2V not in card.ways)
    kind = card.component("transformer").kind
    stock = one_pass(plan, canvas, asked, stock=True)
    read = WORDS if BY_ITSELF[kind].startswith("padding") else 0
    ours = one_pass(plan, canvas, replace(asked, prompt=read)) if kind in WAYS else stock
    size = f"{canvas.width}x{canvas.height}, {canvas.frames} frames"
    cells = [_gib(stock), _gib(ours), _pflop(stock), _pflop(ours)]
    return f"| {card.name} | {size} | {' | '.join(cells)} | {BY_ITSELF[kind]} |\n"


def _gib(found: Pass) -> str:
    return f"{found.peak / GIB:.2f}"


def _pflop(found: Pass) -> str:
    return f"{found.attended / 1e15:.3f}"
