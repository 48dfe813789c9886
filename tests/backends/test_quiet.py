"""A fresh process imports little, says nothing, and can still import for real what was hidden."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import twins

ROOT = Path(__file__).parents[2]

CLIP = """
import json, sys
from pathlib import Path
from tests import twins
from vidgen.backends import ltx
from vidgen.core.request import Lora
card = twins.card(Path(sys.argv[1]))
jobs = [twins.job(card), twins.job(card, loras=[Lora(path=Path(sys.argv[2]))]), twins.job(card)]
seen = []
for job in jobs:
    backend = ltx.open(job)
    latents = backend.denoise(job, backend.encode([job])[0], [], lambda done, total, state=None: None)
    pixels = sum(int(frame.sum()) for frame in backend.decode(job, latents).frames)
    seen.append([pixels, [name for name in ("bitsandbytes", "torchao", "peft") if name in sys.modules]])
from importlib.util import find_spec
print(json.dumps([seen, find_spec("peft") is not None]))
"""


def test_a_clip_brings_in_only_what_it_needs(twin: Path) -> None:
    """Without a LoRA no peft; with one, in the same process, peft and another picture; then the first picture again."""
    file = twins.lora(Path("style.safetensors")).resolve()
    done = subprocess.run(
        [sys.executable, "-c", CLIP, str(twin), str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    seen, findable = json.loads(done.stdout.splitlines()[-1])
    (bare, first), (dressed, second), (again, _) = seen
    assert first == []
    assert second == ["peft"]
    assert bare == again != dressed
    assert findable
