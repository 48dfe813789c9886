"""Plays every round of the fault tests, prints the scorecard and writes docs/reliability.md: python -m tools.faults."""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.faults.score import FAULTS, KINDS, MANY, SCORES, Fault, Score, read

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests" / "faults"
PAGE = ROOT / "docs" / "reliability.md"
LIBRARIES = ("torch", "diffusers", "transformers", "huggingface_hub", "safetensors", "pillow", "imageio-ffmpeg")
HEAD = ("class of fault", "faults", "tried", "survived", "silently wrong", "work lost", "code ran", "longest stop")

CLASSES = {
    "signals": "Whenever it is stopped or killed, what was finished stays, and the same command goes on from there.",
    "disk": "A clip is whole or not there; a disk that is full, closed or broken is said, and costs no finished work.",
    "memory": "A phase that runs out of memory steps down and goes on; where nothing is left, its artefacts are kept.",
    "weights": "Weights that are cut, changed, foreign or hostile are refused, and nothing in them is run.",
    "hub": "A download is whole and its hash is right, or it is gone on with; no answer of a hub is believed unseen.",
    "pictures": "A picture goes in as it looks, or is refused before anything is loaded.",
    "words": "Any text is taken as it is or refused in a sentence; never an escape code, an option or a path.",
    "paths": "Nothing that is written leaves its folder, whatever a prompt, a template or a file says.",
    "concurrency": "Of several processes at one place one wins, and the others are told; none breaks another's files.",
    "engine": "Numbers that are none and pictures that are none are found out; so is an ffmpeg that dies or lies.",
    "machine": "A machine without what it should have is described and not guessed at.",
}

EXPLAINED = """\
Every round disturbs a real run at one place: the n-th write, the n-th step, the n-th frame. Then the same command is
given again. A round is survived when all of this holds:

1. a finished clip decodes whole and is what its record says;
2. files that were there before are byte for byte as they were;
3. no temporary file outlives the next run;
4. the exit code is a documented one, and the last lines say what is wrong and one thing to do;
5. the same command ends with the frames of an undisturbed run, bit for bit;
6. nothing is lost and nothing is delivered twice;
7. the token in the environment is in no file and no output, and no code of a file was run;
8. stdout is paths or JSON, or empty;
9. what was said to be kept is not computed again: no more than one checkpoint interval is repeated.

`make faults` plays all rounds and writes this page; an ordinary run of the tests plays a few. Runs are those of a tiny
LTX-Video with random weights on the processor. Most are processes forked from one that has imported everything; some
are begun by a shell.
"""

MISSING = """\
## Not covered

- Memory that really runs out on a graphics card: the error is raised, and a process is forbidden to grow.
- A power cut: a killed process leaves its writes to the kernel, a machine without power does not.
- Disks over a network, and two machines at one folder.
- Windows and macOS.
- Batch files, a queue of jobs that survives a crash, shares of a graphics card: vidgen has none of them yet.
- Half a snapshot in the cache, and a clock that jumps: not tried here.
"""


def main(words: Sequence[str]) -> int:
    """Play, print, write; 0 when every round was survived."""
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.add_argument("--scores", type=Path, help="make the page of these scores instead of playing")
    parser.add_argument("-n", "--processes", default="auto")
    given, more = parser.parse_known_args(words)
    with tempfile.TemporaryDirectory() as folder:
        path = given.scores or Path(folder) / "scores"
        code = 0 if given.scores else _play(path, given.processes, more)
        scores = read(path)
    print("\n".join(_lines(scores)))
    for score in scores:
        if not score.survived:
            print(f"not survived: {score.fault.kind}: {score.fault.name}: {score.why}")
    if not more:
        how = "Put together from the scores of several runs up to that commit" if given.scores else "Played in one run"
        PAGE.write_text(page(scores, how), encoding="utf-8")
    return code or int(not all(score.survived for score in scores))


def _play(path: Path, processes: str, more: Sequence[str]) -> int:
    words = [sys.executable, "-m", "pytest", "-q", "-n", processes, "--dist", "worksteal", "-m", "slow or not slow"]
    environment = {**os.environ, SCORES: str(path), MANY: "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run([*words, str(TESTS), *more], cwd=ROOT, env=environment, check=False).returncode


def registered() -> list[Fault]:
    """Every fault of every test file."""
    for file in sorted(TESTS.glob("test_*.py")):
        importlib.import_module(f"tests.faults.{file.stem}")
    return sorted(FAULTS.values(), key=lambda fault: (KINDS.index(fault.kind), fault.name))


def page(scores: Sequence[Score], how: str) -> str:
    """docs/reliability.md; `how` the scores came about."""
    lines = ["<!-- Generated by `make faults`; do not edit. -->", "", "# Reliability", ""]
    lines += [*_provenance(scores, how), "", *_lines(scores), "", EXPLAINED, "## Every fault", ""]
    for kind in KINDS:
        faults = [fault for fault in registered() if fault.kind == kind]
        if faults:
            lines += [
                f"### {kind}",
                "",
                CLASSES[kind],
                "",
                "| fault | rounds | what holds in every one |",
                "|---|---:|---|",
            ]
            lines += [f"| {fault.name} | {_count(scores, fault)} | {fault.promise} |" for fault in faults] + [""]
    return "\n".join(lines) + MISSING


def _provenance(scores: Sequence[Score], how: str) -> Iterator[str]:
    survived, faults = sum(score.survived for score in scores), {score.fault.name for score in scores}
    yield f"**{len(faults)} faults, {len(scores)} rounds, {survived} survived.**"
    yield f"{datetime.now(UTC).date().isoformat()}, commit {_commit()}, {os.cpu_count()} processor cores, no graphics"
    yield f"card; Python {sys.version.split()[0]}, {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}."
    yield f"{how}."


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return f"`{done.stdout.strip() or 'unknown'}`"


def _count(scores: Sequence[Score], fault: Fault) -> int:
    return sum(score.fault.name == fault.name for score in scores)


def _lines(scores: Sequence[Score]) -> Iterator[str]:
    """The scorecard; a class without rounds is in it with zeros."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---|" + "---:|" * (len(HEAD) - 1)
    for kind in KINDS:
        yield _row(kind, [score for score in scores if score.fault.kind == kind])
    yield _row("**total**", scores)


def _row(name: str, scores: Sequence[Score]) -> str:
    faults, survived = len({score.fault.name for score in scores}), sum(score.survived for score in scores)
    marks = [sum(getattr(score, mark) for score in scores) for mark in ("silent", "lost", "ran")]
    longest = max((score.seconds for score in scores), default=0.0)
    cells = [name, faults, len(scores), survived, *marks, f"{longest:.1f} s" if longest else "-"]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
