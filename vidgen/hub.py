"""Where a model's weights are: a folder, or the Hugging Face cache. Looks only; `weights/` fetches them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vidgen.core.card import Component, ModelCard
from vidgen.core.plan import Weights

INDEX = "*.safetensors.index.json"
WEIGHTLESS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("Tokenizer", "TokenizerFast"): ("tokenizer.json", "spiece.model"),
    ("Scheduler",): ("scheduler_config.json",),
    ("Processor", "Extractor"): ("preprocessor_config.json",),
}
"""How classes without weights are called, and the files of which one is there."""
LONGEST_HEADER = 100_000_000
"""Bytes: what the format itself allows."""


def find(card: ModelCard) -> Weights:
    """The files of `card` that are on this machine, and the names of those that are not."""
    folder = card.folder or cached(card.repository, card.revision)
    if folder is None:
        return Weights(folder=None, missing=tuple(component.name for component in card.components), sizes={})
    missing: list[str] = []
    sizes: dict[str, int] = {}
    for component in card.components:
        missing.extend(_missing(component, folder))
        missing.extend(_damaged(component, folder / component.name))
        sizes[component.name] = sum(path.stat().st_size for path in _tensors(folder / component.name))
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


def command(card: ModelCard, missing: Sequence[str] = ()) -> str:
    """The command that fetches what `card` needs, or mends what of it is damaged; none for a folder of one's own."""
    if not card.repository or card.folder is not None:
        return ""
    damaged = any(name.endswith(")") for name in missing)
    return f"vidgen download {'--repair ' if damaged else ''}{card.name}"


def _missing(component: Component, folder: Path) -> Iterator[str]:
    place = folder / component.name
    for ends, names in WEIGHTLESS.items():
        if component.kind.endswith(ends):
            if not any((place / name).is_file() for name in names):
                yield f"{component.name}/{names[0]}"
            return
    if not (place / "config.json").is_file():
        yield f"{component.name}/config.json"
    yield from _missing_shards(component, place)


def _missing_shards(component: Component, place: Path) -> Iterator[str]:
    for index in place.glob(INDEX):
        shards = _shards(index) or [f"{index.name} (cannot be read)"]
        yield from (f"{component.name}/{name}" for name in shards if not (place / name).is_file())
        return
    if not _tensors(place):
        yield f"{component.name}/*.safetensors"


def _damaged(component: Component, place: Path) -> Iterator[str]:
    for path in _tensors(place):
        if not _whole(path):
            yield f"{component.name}/{path.name} (damaged)"


def _whole(path: Path) -> bool:
    """Whether a file of tensors is as long as its header says; its contents are checked when they are loaded."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, LONGEST_HEADER)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return path.stat().st_size == 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def _tensors(place: Path) -> list[Path]:
    """The weights in a folder; a link whose file has gone from the cache is none."""
    return [path for path in place.glob("*.safetensors") if path.is_file()]


def _shards(index: Path) -> list[str]:
    """The files that an index names; none when it is no index."""
    try:
        return sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
