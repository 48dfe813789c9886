"""Well-known cards: their memory and rates, from `gpus.toml`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from vidgen.catalog.tables import Table, load
from vidgen.core.errors import UsageRefused
from vidgen.core.machine import Gpu, Machine, Rates
from vidgen.core.words import nearest

FILE = Path(__file__).with_name("gpus.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A card of the file: how people call it, and how drivers do."""

    gpu: Gpu
    aliases: tuple[str, ...]
    drivers: tuple[str, ...]


@cache
def entries() -> Mapping[str, Entry]:
    """Every card that is known, by name."""
    return {name: _entry(name, table) for name, table in Table({"gpus": load(FILE)}, str(FILE)).tables("gpus").items()}


def gpu(name: str) -> Gpu:
    """The card called `name`, however it is spelt: "4090", "RTX 4090", "rtx-4090"; UsageRefused when it is unknown."""
    known = {
        _plain(word): entry.gpu for key, entry in entries().items() for word in (key, *entry.aliases, *entry.drivers)
    }
    if _plain(name) not in known:
        raise UsageRefused(
            f"unknown card {name!r}{nearest(name, entries())}", f"use one of {', '.join(entries())}, or --vram 24"
        )
    return known[_plain(name)]


def rated(machine: Machine) -> Machine:
    """`machine` with the rates of its card, where that is a known one."""
    found = next((entry for entry in entries().values() if machine.name in entry.drivers), None)
    return replace(machine, rates=found.gpu.rates) if found and machine.rates is None else machine


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _entry(name: str, table: Table) -> Entry:
    driver = table.take("name", str)
    major, _, minor = table.take("capability", str).partition(".")
    entry = Entry(
        gpu=Gpu(
            name=driver,
            vram_gib=table.take("vram", float),
            compute_capability=(int(major), int(minor)),
            rates=Rates(
                tflops=table.take("tflops", float),
                fp8_tflops=table.take("fp8", float),
                memory_gbs=table.take("memory", float),
                link_gbs=table.take("link", float),
            ),
        ),
        aliases=table.texts("aliases"),
        drivers=(driver, *table.texts("also")),
    )
    table.finish()
    return entry
