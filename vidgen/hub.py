"""Where a model's weights are: a folder, or the Hugging Face cache. Looks only; `weights/` fetches them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vidgen.core.card import Component, ModelCard
from vidgen.core.headers import header
from vidgen.core.plan import Weights

INDEX = "*.safetensors.index.json"
SHARD = re.compile(r"[^/\\\0]+\.safetensors")
WEIGHTLESS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("ByT5Tokenizer",): ("tokenizer_config.json",),
    ("Tokenizer", "TokenizerFast"): ("tokenizer.json", "spiece.model", "vocab.json"),
    ("Scheduler",): ("scheduler_config.json",),
    ("Processor", "Extractor"): ("preprocessor_config.json",),
    ("Guidance",): ("guider_config.json",),
}
"""How classes without weights are called, and the files of which one is there; ByT5 reads bytes by no vocabulary."""


NOTHING = Weights(folder=None, sizes={})


def find(card: ModelCard) -> Weights:
    """The files of `card` that are on this machine, and the names of those that are not."""
    folder = card.folder or cached(card.repository, card.revision)
    if folder is None:
        wanted = tuple(component.name for component in card.components if not component.optional)
        return Weights(folder=None, missing=wanted, sizes={})
    missing: list[str] = []
    sizes: dict[str, int] = {}
    for component in card.components:
        if component.optional and not (folder / component.place).is_dir():
            continue
        missing.extend(_missing(component, folder))
        missing.extend(_damaged(component, folder / component.place))
        sizes[component.name] = sum(path.stat().st_size for path in _tensors(folder / component.place))
    return Weights(folder=folder, missing=tuple(missing), sizes=sizes)


def cached(repository: str, revision: str) -> Path | None:
    """The snapshot of `repository` in the Hugging Face cache; None when there is none.

    The layout of the cache is documented and read here directly: the library's own look-up costs a fifth of a second.
    """
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (place / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    snapshot = place / "snapshots" / commit
    return snapshot if repository and commit and (snapshot / "model_index.json").is_file() else None


def unweighed(card: ModelCard, weights: Weights = NOTHING) -> list[str]:
    """The parts whose weights nobody has counted and that are not here to be weighed."""
    ends = tuple(end for ends in WEIGHTLESS for end in ends)
    parts = (part for part in card.components if not part.parameters and not part.kind.endswith(ends))
    return [part.name for part in parts if not part.optional and not weights.sizes.get(part.name)]


def command(card: ModelCard, missing: Sequence[str] = ()) -> str:
    """The command that fetches what `card` needs, or mends what of it is damaged; none for a folder of one's own."""
    if not card.repository or card.folder is not None:
        return ""
    damaged = any(name.endswith(")") for name in missing)
    return f"vidgen download {'--repair ' if damaged else ''}{card.name}"


def _missing(component: Component, folder: Path) -> Iterator[str]:
    place = folder / component.place
    for ends, names in WEIGHTLESS.items():
        if component.kind.endswith(ends):
            if not any((place / name).is_file() for name in names):
                yield f"{component.place}/{names[0]}"
            return
    if not (place / "config.json").is_file():
        yield f"{component.place}/config.json"
    yield from _missing_shards(component, place)


def _missing_shards(component: Component, place: Path) -> Iterator[str]:
    for index in place.glob(INDEX):
        shards = _shards(index) or [f"{index.name} (cannot be read)"]
        yield from (f"{component.place}/{name}" for name in shards if not (place / name).is_file())
        return
    if not _tensors(place):
        yield f"{component.place}/*.safetensors"


def _damaged(component: Component, place: Path) -> Iterator[str]:
    for path in _tensors(place):
        if not _whole(path):
            yield f"{component.place}/{path.name} (damaged)"


def _whole(path: Path) -> bool:
    """Whether a file of tensors is as long as its header says; its contents are checked when they are loaded."""
    try:
        header(path)
    except (OSError, ValueError):
        return False
    return True


def _tensors(place: Path) -> list[Path]:
    """The weights in a folder; a link whose file has gone from the cache is none."""
    return [path for path in place.glob("*.safetensors") if path.is_file()]


def _shards(index: Path) -> list[str]:
    """The files that an index names; none when it is no index, or names what is no file of tensors beside it."""
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        return sorted(names) if all(SHARD.fullmatch(name) for name in names) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
