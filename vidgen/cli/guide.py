"""What there is to know of models, in words: all of them in two lines each, and everything of one."""

from collections.abc import Iterable, Iterator

from vidgen import hub
from vidgen.cli import screen
from vidgen.core.card import SOURCED, Guidance, ModelCard
from vidgen.core.words import rate
from vidgen.planning.advice import CARDS_GIB, HOST_GIB, smallest
from vidgen.weights.wanted import expected

GIB = 2**30
LEGEND = (
    "*        it is here",
    "LONGEST  at its own rate; like LARGEST, the most that its makers recommend or show",
    f"CARD     the smallest of {', '.join(map(str, CARDS_GIB))} GB that its own clip fits, with {HOST_GIB:g} GB of RAM",
    "         >: more, as some of it was not counted",
    "WEIGHTS  at 16 bits: to fetch, and to hold; >: some of them were not counted",
    "More of one: vidgen models show NAME. Which to take: vidgen models recommend",
)


def listed(known: Iterable[tuple[ModelCard, bool]]) -> Iterator[str]:
    """Every model with whether it is here: a row of numbers, and under it what it is for."""
    entries = list(known)
    rows = [["", "NAME", "DOES", "LONGEST", "LARGEST", "CARD", "WEIGHTS"]]
    rows += [["*" if here else "", *_row(entry)] for entry, here in entries]
    head, *lines = screen.columns(rows)
    yield head
    for line, (entry, _) in zip(lines, entries, strict=True):
        yield line
        yield f"     {purpose(entry)}"
    yield from ("", *LEGEND)


def purpose(entry: ModelCard) -> str:
    """What a model is for, whether it makes sound, and its licence."""
    good = [what for what in entry.good_at if what != "sound"]
    said = f"good at {', '.join(good)}" if good else entry.summary.rstrip(".")
    return "; ".join(
        filter(None, ["with sound" if entry.sound else "", said, entry.licence or "licence at its repository"])
    )


def facts(entry: ModelCard, *, here: bool) -> dict[str, object]:
    """Everything that is known of one model, as data."""
    return {
        "name": entry.name,
        "title": entry.title,
        "summary": entry.summary,
        "aliases": list(entry.aliases),
        "here": here,
        "family": entry.family,
        "modes": [str(mode) for mode in entry.ways],
        "sound": entry.sound,
        "loras": entry.loras,
        "enhances": entry.enhances,
        "good_at": list(entry.good_at),
        "longest_clip": f"{entry.longest} frames" if entry.longest else "",
        "longest_seconds": round(_seconds(entry), 1),
        "largest_canvas": "{}x{}".format(*entry.largest) if any(entry.largest) else "",
        "smallest_card_gb": smallest(entry),
        "measured": bool(entry.cost.token_kib),
        "grid": grid(entry),
        "tokens": entry.tokens,
        "knows": entry.knows,
        "guidance": str(entry.schedule.guidance),
        "schedule": schedule(entry),
        "stages": 2 if entry.refine else 1,
        "defaults": {key: value for key, value in entry.defaults.items() if value != ""},
        "weights": weights(entry),
        "licence": entry.licence or (f"see https://huggingface.co/{entry.repository}" if entry.repository else ""),
        "repository": entry.repository,
        "fetch": hub.command(entry),
        "layout": [dict(zip(("component", "files", "kind", "source"), row, strict=True)) for row in layout(entry)],
        "sources": dict(entry.sources),
    }


def shown(entry: ModelCard, *, here: bool) -> Iterator[str]:
    """Everything that is known of one model, in lines: facts, where its files are, where its values are from."""
    plain = {key: value for key, value in facts(entry, here=here).items() if key not in ("layout", "sources")}
    yield from screen.columns([[key.replace("_", " "), _plain(value)] for key, value in plain.items() if _said(value)])
    yield from ("", f"files{f' of {entry.repository}' if entry.repository else ''}")
    rows = [[name, files, kind, source and f"of {source}"] for name, files, kind, source in layout(entry)]
    yield from (f"  {line}" for line in screen.columns(rows))
    yield from ("", "sources")
    yield from (f"  {line}" for line in screen.columns(sources(entry)))


def layout(entry: ModelCard) -> list[list[str]]:
    """Each component: its files where they are fetched from, its class, and that place where it is another's."""
    return [[part.name, expected(part), part.kind, part.source] for part in entry.components]


def sources(entry: ModelCard) -> list[list[str]]:
    """What of a card is from where."""
    return [[said, entry.sources[key]] for key, said in SOURCED.items() if key in entry.sources]


def schedule(entry: ModelCard) -> str:
    """How a model is sampled."""
    steps = " or ".join(map(str, entry.schedule.fixed)) or str(entry.defaults["steps"])
    steps += f" and {entry.refine.walked}" if entry.refine else ""
    scale = f"{float(str(entry.defaults['guidance_scale'])):g}"
    match entry.schedule.guidance:
        case Guidance.DISTILLED:
            return f"distilled to {steps} steps"
        case Guidance.EMBEDDED:
            return f"{steps} steps, embedded guidance {scale}"
        case Guidance.CLASSIFIER_FREE:
            return f"{steps} steps, guidance {scale}"


def grid(entry: ModelCard) -> str:
    """What sides and lengths a model draws."""
    return f"sides in multiples of {entry.grid.size}, frames {entry.grid.frames}k+1"


def weights(entry: ModelCard) -> str:
    """Weights at 16 bits, from the parameter counts; else what lies on disk."""
    parameters = sum(component.parameters for component in entry.components)
    if parameters:
        return f"{'more than ' if hub.unweighed(entry) else ''}{parameters * 2 / GIB:.1f} GiB"
    return f"{sum(hub.find(entry).sizes.values()) / 2**20:.1f} MiB"


def card_of(entry: ModelCard) -> str:
    """The smallest card on which a model's own clip fits."""
    if not any(component.parameters for component in entry.components):
        return "any"
    size = smallest(entry)
    known = entry.cost.token_kib and not hub.unweighed(entry)
    return f"{'' if known else '>'}{size} GB" if size else "none"


def _row(entry: ModelCard) -> list[str]:
    longest = f"{_seconds(entry):.0f} s" if entry.longest else "-"
    largest = "{}x{}".format(*entry.largest) if any(entry.largest) else "-"
    return [
        entry.name,
        " ".join(entry.ways),
        longest,
        largest,
        card_of(entry),
        weights(entry).replace("more than ", ">"),
    ]


def _seconds(entry: ModelCard) -> float:
    """How long the longest clip plays at the model's own rate."""
    return entry.longest / float(rate(entry.defaults["fps"]))


def _said(value: object) -> bool:
    return value is False or bool(value)


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}={entry}" for key, entry in value.items())
        case _:
            return str(value)
