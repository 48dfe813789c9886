"""What the installed torch was built for, read from its files: importing it takes seconds."""

import re
from importlib.util import find_spec
from pathlib import Path


def torch_cuda() -> str:
    """The CUDA version that the installed torch was built for; empty for a build without."""
    return _built("cuda")


def torch_hip() -> str:
    """The ROCm version that it was built for; empty for a build without."""
    return _built("hip")


def _built(name: str) -> str:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{name}\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return found[1] if found else ""
