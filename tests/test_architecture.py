"""The shape of the house: who may import whom, what starts without torch, and how long things may grow."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import vidgen
from vidgen.catalog import cards

ROOT = Path(vidgen.__file__).parents[1]
HOUSE = ROOT / "vidgen"
FILES = sorted(path for path in HOUSE.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

STOREYS = (
    {"cli"},
    {"smoke"},
    {"generate", "enhance", "shots", "prepare", "exact", "fitting", "looking", "reading", "resume", "weights"},
    {
        "adapters",
        "enhancers",
        "ggufs",
        "catalog",
        "planning",
        "probe",
        "history",
        "hub",
        "tokens",
        "backends",
        "media",
        "studio",
    },
    {"core"},
)
"""A room imports only from storeys below its own, and from itself. The story's files are one room."""

EXEMPT = {"__init__", "__main__"}

HEAVY = {
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "gguf",
    "numpy",
    "PIL",
    "huggingface_hub",
    "safetensors",
    "tokenizers",
    "sentencepiece",
    "imageio_ffmpeg",
    "pynvml",
}

NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "service", "misc"}


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def storey(name: str) -> int:
    return next(number for number, rooms in enumerate(STOREYS) if name in rooms)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by dots"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """The rooms of ours that a file imports from."""
    names = (name.split(".") for _, name in imported(path))
    return {parts[1] for parts in names if parts[0] == "vidgen" and len(parts) > 1} - {"__version__"}


def test_every_room_has_its_storey() -> None:
    assert {room(path) for path in FILES} - EXEMPT == set().union(*STOREYS)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_point_down_and_siblings_never_meet(path: Path) -> None:
    own = room(path)
    if own in EXEMPT:
        return
    story = {"generate", "enhance", "shots", "prepare", "exact", "fitting", "looking", "reading", "resume"}
    home = story if own in story else {own}
    wrong = {name for name in rooms_imported(path) - home if storey(name) <= storey(own)}
    assert wrong == set()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_heavy_libraries_are_imported_at_the_top_of_backends_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {name.split(".")[0] for name in _at_the_top(tree.body)}
    assert room(path) == "backends" or not top & HEAVY


def _at_the_top(body: list[ast.stmt]) -> Iterator[str]:
    """What importing a file imports: not what functions import, nor what only type checkers see."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _at_the_top(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _at_the_top([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])


LIGHT = (
    "--help",
    "--version",
    "t2v --help",
    "models",
    "models show ltx-video-2b --json",
    "plan t2v x --model ltx-video-2b",
    "plan t2v x --json",
    "t2v x --dry-run",
    "doctor",
    "presets",
    "config show",
    "plan t2v x --model ltx-2.3-distilled --enhance --vram 80",
    "enhance --help",
    "duration --help",
    "diff --help",
    "smoke --help",
    "download --help",
    "download pocket",
    "cache",
    "cache gc",
)
"""What only talks. All of it runs in one fresh interpreter, one after the other."""


def test_what_only_talks_never_loads_torch_or_numpy() -> None:
    script = """
import json, sys
from vidgen.cli.app import start
ended = {}
for line in sys.argv[1:]:
    code = start(line.split())
    ended[line] = [code, sorted({"torch", "diffusers", "transformers", "numpy"} & set(sys.modules))]
sys.stderr.write("\\n" + json.dumps(ended))
"""
    assert json.loads(_last_line_of(script, LIGHT)) == {line: [0, []] for line in LIGHT}


def test_completion_never_loads_torch_or_numpy() -> None:
    script = """
import os, sys
os.environ |= {"_VIDGEN_COMPLETE": "complete_bash", "COMP_WORDS": "vidgen t2v --model ltx", "COMP_CWORD": "3"}
from vidgen.cli.app import app
try:
    app([], prog_name="vidgen")
except SystemExit as done:
    heavy = sorted({"torch", "diffusers", "transformers", "numpy"} & set(sys.modules))
    sys.stderr.write(f"\\n{done.code} {heavy}")
"""
    assert _last_line_of(script, []) == "0 []"


def _last_line_of(script: str, words: Sequence[str]) -> str:
    line = [sys.executable, "-c", script, *words]
    said = subprocess.run(line, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
    return said.stderr.rpartition("\n")[2]


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "HOME": str(Path.cwd()), "HF_HUB_OFFLINE": "1", "LC_ALL": "C.UTF-8"}


def test_the_public_names_are_those_of_the_design() -> None:
    assert sorted(vidgen.__all__) == ["Keyframe", "Mode", "Request", "prepare", "run"]
    assert all(getattr(vidgen, name).__module__.startswith("vidgen.") for name in vidgen.__all__)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_is_longer_than_300_lines_and_no_function_than_40(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > 40} == {}
    assert len(text.splitlines()) <= 300


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_file_says_first_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    named = {part.removesuffix(".py") for name in NAMES for part in Path(name).parts}
    assert named & NAMELESS == set()


def test_every_family_has_a_card_and_every_card_a_family() -> None:
    families = {path.stem for path in (HOUSE / "backends").glob("*.py") if "\ndef open(job: Job)" in path.read_text()}
    assert families == {card.family for card in cards.cards().values()}
