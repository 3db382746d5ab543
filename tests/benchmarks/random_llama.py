"""A Llama of about 75M parameters with random weights: as much work as a real model, nothing to download."""

from pathlib import Path

VOCABULARY = 32_000
SHAPE = {
    "vocab_size": VOCABULARY, "num_hidden_layers": 8, "hidden_size": 768, "intermediate_size": 1792,
    "num_attention_heads": 12, "num_key_value_heads": 12, "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}  # fmt: skip
"""76M parameters: 52M in the layers, 25M in the embeddings, which are the head too."""


def random_llama(folder: Path, seed: int = 0) -> Path:
    """The model in `folder`, made if it is not there. It has no end token: what is asked for is the work."""
    if (folder / "tokenizer.json").is_file():  # written last
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = LlamaConfig(**SHAPE, bos_token_id=0, eos_token_id=None, pad_token_id=None)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=_words(), bos_token="<bos>").save_pretrained(folder)
    return folder


def _words() -> object:
    """A tokenizer with one made-up word for each id behind the start token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<bos>", *(f"w{i}" for i in range(1, VOCABULARY))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer
