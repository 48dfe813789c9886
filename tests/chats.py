"""Tiny chat models with random weights, built offline: what they answer is always the same, and means nothing."""

from pathlib import Path
from typing import Any

ENDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

TEMPLATE = (
    "{% for said in messages %}<|im_start|>{{ said.role }}\n{{ said.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
"""A template of a model that knows no orders of a system, as that of Gemma 2."""

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "pad_token_id": 0,
}

OWN: dict[str, dict[str, Any]] = {
    "Gemma2ForCausalLM": {"head_dim": 16},
    "Gemma3ForCausalLM": {"head_dim": 16},
    "Gemma4ForCausalLM": {"head_dim": 16, "global_head_dim": 16, "vocab_size_per_layer_input": 300},
    "Qwen3ForCausalLM": {"head_dim": 16},
}
OWN["Gemma3ForConditionalGeneration"] = OWN["Gemma3ForCausalLM"]
OWN["Gemma4ForConditionalGeneration"] = OWN["Gemma4ForCausalLM"]
OWN["Gemma4UnifiedForConditionalGeneration"] = OWN["Gemma3ForCausalLM"] | {"global_head_dim": 16}

CONFIGS = {"Gemma3ForCausalLM": "Gemma3TextConfig", "Gemma4ForCausalLM": "Gemma4TextConfig"}
"""What the configuration of a class is called, where that is not to be guessed."""

PICTURES: dict[str, dict[str, Any]] = {
    "Gemma3ForConditionalGeneration": {
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 8,
        },
        "mm_tokens_per_image": 1,
    },
    "Gemma4ForConditionalGeneration": {"vision_config": None, "audio_config": None},
    "Gemma4UnifiedForConditionalGeneration": {"vision_config": None, "audio_config": None},
}
"""What a model has beside its text, that sees or hears."""


def build(
    folder: Path, *, kind: str = "Qwen2ForCausalLM", seed: int = 0, template: str = TEMPLATE, **changed: Any
) -> Path:
    """A chat model of one block in `folder`, as `from_pretrained` reads it, whose tokens are single bytes."""
    import torch

    from vidgen.backends.quiet import found, quickly

    config = CONFIGS.get(kind, kind.replace("ForCausalLM", "Config").replace("ForConditionalGeneration", "Config"))
    with quickly():
        alphabet = sorted(found("tokenizers.pre_tokenizers", "ByteLevel").alphabet())
        vocab = {text: number for number, text in enumerate([*alphabet, *ENDS])}
        words = found("transformers", "Qwen2Tokenizer")(vocab=vocab, merges=[])
        words.chat_template = template
        said = {**TEXT, "vocab_size": len(vocab), "eos_token_id": vocab[ENDS[2]], **OWN.get(kind, {}), **changed}
        beside = PICTURES.get(kind)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            arguments = {"text_config": said, **beside} if beside else said
            made = found("transformers", kind)(found("transformers", config)(**arguments))
        made.save_pretrained(folder)
        words.save_pretrained(folder)
    return folder
