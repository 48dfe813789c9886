"""What holds after every fault: nine invariants, looked at in the folder in which a run was disturbed.

1 a finished clip decodes whole and is what its record says; 2 files that were there are as they were; 3 no temporary
file outlives the next run; 4 the exit code and the last line are documented; 5 the same command makes the frames of an
undisturbed run; 6 nothing is lost or delivered twice; 7 the canary is nowhere; 8 stdout is paths or JSON; 9 what was
kept is not computed again.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.children import CANARY, Ended, Running, begin
from tests.faults.injected import Injection, Tally
from tests.faults.score import Trial, some
from vidgen.media import record
from vidgen.media.inspect import digest, inspect
from vidgen.studio.artefacts import LATENTS, has

STEPS, FRAMES = 4, 9


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command, and the frames and calls of its undisturbed run. `every`: steps between checkpoints.

    `detoured`: a clip that was finished in another precision has other frames; its record says so.
    """

    words: Sequence[str]
    calls: Tally
    whole: str = ""
    every: int = 1
    steps: int = STEPS
    output: str = "x.mkv"
    detoured: bool = False

    def each(self, site: str, few: int) -> Sequence[int]:
        """The numbers of the calls of `site`, and one more: that run is not touched. `few` in an ordinary run."""
        return some(few, range(1, self.calls.of(site) + 2))


class Place:
    """A folder with somebody's files in it, in which a command is disturbed and then given again."""

    def __init__(self, folder: Path, asked: Asked) -> None:
        self.folder, self.asked = folder, asked
        self.output = folder / asked.output
        self._said = folder.with_name(f"{folder.name}-said")
        (folder / "y.mkv.part").mkdir(parents=True)
        for name in ("mine.mkv", "notes.txt", "x.mkv.bak", "y.mkv.part/latents.safetensors"):
            (folder / name).write_bytes(os.urandom(64))
        self.there = sorted(path.name for path in folder.iterdir())
        self._before = self._content()
        self._forwards = 0

    def begin(
        self,
        *more: str,
        injection: Injection | None = None,
        before: Callable[[], object] = lambda: None,
        words: Sequence[str] = (),
    ) -> Running:
        """The command, at work in this folder. `words` for another one."""
        os.chdir(self.folder)

        def alone() -> None:
            os.environ["VIDGEN_CACHE"] = str(self._said / "cache")  # what one round learns is no other's
            before()

        line = [*(words or self.asked.words), *more]
        return begin(line, said=self._said, injection=injection, before=alone)

    def run(self, *more: str, injection: Injection | None = None, before: Callable[[], object] = lambda: None) -> Ended:
        """The command to its end, whatever that is."""
        return self.seen(self.begin(*more, injection=injection, before=before).wait())

    def seen(self, ended: Ended) -> Ended:
        """What a run computed is remembered."""
        self._forwards += ended.tally.of("forward")
        return ended

    def unharmed(self, trial: Trial, ended: Ended, codes: Sequence[int]) -> None:
        """After the disturbed run: invariants 1, 2, 4, 7 and 8."""
        self._ended(trial, ended, codes)
        if {path: content for path, content in self._content().items() if path in self._before} != self._before:
            trial.lost("a file that was there has changed")
        if os.path.exists(self.output):  # noqa: PTH110 - a name may be too long to ask for
            self._matches(trial)
        elif ended.code == 0:
            trial.silent("exit code 0 without a clip")

    def again(self, trial: Trial, *more: str) -> None:
        """The same command, undisturbed: invariants 3, 5, 6 and 9, and all the others."""
        delivered, kept = self.output.exists(), has(self.folder / f"{self.asked.output}.part", LATENTS)
        ended = self.run(*more)
        self.unharmed(trial, ended, [6] if delivered else [0])
        if kept and ended.tally.of("forward"):
            trial.lost("latents that were kept are computed again")
        repeated = self._forwards - self.asked.steps
        if repeated > self.asked.every:
            trial.lost(f"{repeated} steps repeated")
        self.clean(trial)

    def clean(self, trial: Trial) -> None:
        """Nothing lies here but what was here, the clip and its record."""
        ours = {self.asked.output, f"{self.asked.output}.json"}
        left = [str(path) for path in self._content() if path not in self._before and str(path) not in ours]
        folders = [path.name for path in self.folder.iterdir() if path.is_dir() and path.name != "y.mkv.part"]
        assert not left, f"left behind: {left}"
        assert not folders, f"left behind: {folders}"
        assert self.output.exists(), "no clip"
        assert not trial.marks

    def _ended(self, trial: Trial, ended: Ended, codes: Sequence[int]) -> None:
        said = ended.err.splitlines()
        assert ended.code in codes, f"exit code {ended.code}, not of {list(codes)}: {said[-3:]}"
        if ended.code == 1:
            assert said[-1] == "vidgen: this is a bug of ours; please report it with the lines above"
            return
        assert "Traceback" not in ended.err, ended.err[-2000:]
        if 0 < ended.code < 128:
            assert len(said) > 1, said
            assert said[-2].startswith("vidgen: "), said[-3:]
            assert said[-1].startswith("    "), said[-3:]
        for line in ended.out.splitlines():
            assert (self.folder / line).exists() or isinstance(json.loads(line), dict), line
        if CANARY in ended.out + ended.err:
            trial.ran("the token was said")

    def _matches(self, trial: Trial) -> None:
        facts, whole = inspect(self.output), record.read(self.output)
        kept = whole["request"]
        assert isinstance(kept, dict)
        asked = (kept["frames"], kept["width"], kept["height"])
        if (facts.frames, facts.width, facts.height) != asked:
            trial.silent(f"the clip is {facts}, its record says {asked}")
        told = self.asked.detoured and "went on with" in str(whole["adjustments"])
        if self.asked.whole and not told and digest(self.output) != self.asked.whole:
            trial.silent("other frames than those of an undisturbed run")
        if CANARY.encode() in self.output.read_bytes():
            trial.ran("the token is in the clip")

    def _content(self) -> dict[Path, bytes]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {path.relative_to(self.folder): path.read_bytes() for path in files}
