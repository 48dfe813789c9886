"""Numbers into the text of a card: their lines are changed, every other line stays."""

import re
from collections.abc import Mapping

from vidgen.backends.counting.figures import Value

AFTER = "schedule"
"""The table behind which costs stand in a card that had none."""


def put(text: str, table: str, values: Mapping[str, Value]) -> str:
    """The text of a card with `values` in its `table`, each in its old line or after the last; noughts are left out."""
    lines = text.splitlines()
    if f"[{table}]" not in lines:
        end = _end(lines, AFTER)
        lines[end:end] = ["", f"[{table}]"]
    for key, value in values.items():
        begin, end = lines.index(f"[{table}]") + 1, _end(lines, table)
        there = [at for at in range(begin, end) if re.match(rf"{key}\s*=", lines[at])]
        line = f"{key} = {_said(value)}"
        if there:
            lines[there[0] : there[0] + 1] = [line] if value else []
        elif value:
            lines.insert(end, line)
    return "\n".join(lines) + "\n"


def _end(lines: list[str], table: str) -> int:
    """Behind the last value of a table: comments before the next belong to that."""
    begin = lines.index(f"[{table}]") + 1
    stop = next((at for at in range(begin, len(lines)) if lines[at].startswith("[")), len(lines))
    return max((at + 1 for at in range(begin, stop) if "=" in lines[at] and lines[at][0] != "#"), default=begin)


def _said(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:_}" if isinstance(value, int) else f"{value:g}" if value % 1 else f"{value:.1f}"
