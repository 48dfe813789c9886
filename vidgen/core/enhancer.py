"""Who rewrites a prompt into the detailed one that a model wants: the model itself, or a chat model in a folder."""

from dataclasses import dataclass
from pathlib import Path

from vidgen.core.machine import Device

CHATS = frozenset(
    {
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "Gemma4ForCausalLM",
        "Gemma4ForConditionalGeneration",
        "Gemma4UnifiedForConditionalGeneration",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Phi3ForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    }
)
"""The classes of chat models that are loaded. No other is, whatever a folder names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Enhancer:
    """Who rewrites the prompt of a job, and on which device.

    `kind` is the class of a chat model in `folder`, of so many `parameters`; empty for the video model's own parts.
    `mark` is what it is known by: a hash of what the folder holds, `own` for the model's own.
    """

    kind: str = ""
    folder: Path | None = None
    parameters: int = 0
    mark: str = "own"
    device: Device = Device.CPU

    @property
    def own(self) -> bool:
        """Whether the video model rewrites its prompts itself."""
        return self.folder is None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return "the model's own enhancer" if self.folder is None else f"{self.folder.name}, a {self.kind}"
