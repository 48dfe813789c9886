"""A clip is made without PyTorch's compiler, and the compiler is whole for whoever wants it afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

CLIP = """
import json, sys
from pathlib import Path
from tests import twins
from vidgen.backends import ltx
job = twins.job(twins.card(Path(sys.argv[1])))
backend = ltx.open(job)
latents = backend.denoise(job, backend.encode([job])[0], [], lambda done, total, state=None: None)
list(backend.decode(job, latents).frames)
without = ["torch._dynamo" in sys.modules, "torch.distributed.tensor" in sys.modules]

import torch
from diffusers.utils.torch_utils import is_compiled_module
layer = torch.nn.Linear(2, 2)
compiled = torch.compile(layer, backend="eager")
same = bool((compiled(torch.ones(2)) == layer(torch.ones(2))).all())
whole = [same, is_compiled_module(compiled), not is_compiled_module(layer), torch.distributed.is_available()]
print(json.dumps([without, whole]))
"""

ASLEEP = """
import json, sys
from vidgen.backends.lean import lean
def function(): return 1
with lean():
    import torch
    marked = torch._dynamo.disable(function) is function
    again = torch.compiler.disable(recursive=False)(function) is function
    asleep = type(torch._dynamo).__name__
    woken = torch._dynamo.config.__name__, torch._dynamo.disable(function) is not function
print(json.dumps([marked, again, asleep, *woken, type(sys.modules["torch._dynamo"]).__name__]))
"""


def fresh(code: str, *words: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_clip_needs_no_compiler_and_leaves_it_whole(twin: Path) -> None:
    """Should a new Diffusers ask the compiler more while a clip is made, start-up is slow again: this says so."""
    without, whole = fresh(CLIP, str(twin))
    assert without == [False, False]
    assert whole == [True, True, True, True]


def test_the_compiler_wakes_when_more_than_its_marks_are_asked() -> None:
    assert fresh(ASLEEP) == [True, True, "_Asleep", "torch._dynamo.config", True, "module"]
