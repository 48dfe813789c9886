"""`python -m tools.costs [NAME ...]` counts models and writes it into their cards; with --attention, a page."""

import sys
from datetime import UTC, datetime

from tools.costs import attention, count
from tools.costs.written import put
from vidgen.backends import quiet
from vidgen.backends.counting import figures
from vidgen.catalog import cards


def main(names: list[str]) -> None:
    """Count every model of the catalogue, or those called `names`."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    if "--attention" in names:
        attention.write(today)
        return
    for name, card in cards.cards().items():
        if name != cards.BUILT_IN and (not names or name in names):
            path = cards.OWN / f"{name}.toml"
            text = put(path.read_text(encoding="utf-8"), "cost", count.costs(card, today))
            for component, values in figures.parts(count.blueprint(card)).items():
                text = put(text, f"components.{component}", values)
            path.write_text(text, encoding="utf-8")
            print(name, flush=True)


if __name__ == "__main__":
    with quiet.hushed():
        main(sys.argv[1:])
