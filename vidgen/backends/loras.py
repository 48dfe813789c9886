"""LoRAs on a pipeline's transformer, for as long as they are worn."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from vidgen.backends import quiet, streaming
from vidgen.backends.fit import UNREADABLE, first_line
from vidgen.backends.port import exhausted
from vidgen.core.errors import WeightsRefused
from vidgen.core.request import Lora


@contextmanager
def wearing(pipe: Any, loras: Sequence[Lora]) -> Iterator[None]:
    """While it lasts, the pipeline's transformer wears `loras`. Refuses a LoRA of another model (exit 4)."""
    if not loras:
        yield
        return
    quiet.bring_peft()
    names = [f"lora{number}" for number in range(len(loras))]
    try:
        with ExitStack() as looked_at:
            for stream in filter(None, map(streaming.stream, pipe.components.values())):
                looked_at.enter_context(stream.standing_in())
            for name, lora in zip(names, loras, strict=True):
                _put_on(pipe, name, lora)
            pipe.set_adapters(names, [lora.weight for lora in loras])
        yield
    finally:
        pipe.unload_lora_weights()


def _put_on(pipe: Any, name: str, lora: Lora) -> None:
    remedy = "use a .safetensors LoRA that was made for this model"
    try:
        with quiet.quickly():
            pipe.load_lora_weights(
                str(lora.path.parent),
                weight_name=lora.path.name,
                adapter_name=name,
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=True,
            )
    except UNREADABLE as error:
        if exhausted(error):
            raise
        raise WeightsRefused(f"LoRA {lora.path} cannot be loaded: {first_line(error)}", remedy) from error
    if name not in pipe.get_list_adapters().get("transformer", ()):
        raise WeightsRefused(f"LoRA {lora.path} changes nothing in this model: no key of it fits", remedy)
