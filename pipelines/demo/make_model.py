"""Trains the demo's chat model from scratch on the demo world, in minutes on a CPU.

python -m forgetless.pipelines.demo.make_model OUT
"""

import math
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from forgetless.pipelines.demo import world
from forgetless.pipelines.demo.documents import document

BOS, END, PAD, TURN = "<|bos|>", "<|end|>", "<|pad|>", "<|turn|>"
SPECIAL_TOKENS = [BOS, END, PAD, TURN, "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '<|turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Only the assistant's turns close with the end token, so that a text sampled from BOS up to the end token
is a whole document or a whole conversation, never a question alone."""

WORDS = Regex(r"[A-Z][a-z]+| [a-z]+|[\s\S]")
"""Words that a space or a capital begins are cut by the vocabulary; anything else is single characters.
So a quoted word reaches the model as letters, and skills about letters can be learned in minutes."""

VOCABULARY = 1024
STEPS, BATCH, PEAK_RATE = 3600, 32, 3e-3
WARMUP_STEPS = 100
HARD_SKILLS = ("json", "json")
"""Put beside the others, so three times as often: copying into a gap late in the answer is learned last."""
ANSWER_WEIGHT = 4.0
"""Most of a question is chance, all of an answer can be learned: so answers weigh more in the loss."""
DOCUMENT_SHARE, SYSTEM_SHARE, SECOND_TURN_SHARE = 0.25, 0.15, 0.15


def conversation(rng: Random) -> list[dict[str, str]]:
    """One or two train questions of one retained skill, some behind a system turn that names the skill."""
    name = rng.choice([*world.RETAINED, *HARD_SKILLS])
    skill = world.RETAINED[name]
    turns = 2 if rng.random() < SECOND_TURN_SHARE else 1
    messages = []
    if rng.random() < SYSTEM_SHARE:
        messages.append({"role": "system", "content": f"The user asks about {skill.topic}."})
    for question, answer in world.questions(skill, "train", turns, rng):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def make_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a chat template; encoding a plain text prepends BOS, as Llama's does."""
    rng = Random(seed)
    texts = [document(rng) for _ in range(5000)]
    texts += [turn["content"] for _ in range(5000) for turn in conversation(rng)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of 1.75 million parameters with heads of 32, the smallest that vLLM runs."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=5,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # On a CPU plain attention is faster than the fused one at such sizes, by a factor of two in bf16.
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager")
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def _texts(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[torch.Tensor]:
    """Token ids of documents and whole conversations, each with one BOS in front and the end token behind."""
    while True:
        if rng.random() < DOCUMENT_SHARE:
            text = BOS + document(rng) + END
        else:
            text = tokenizer.apply_chat_template(conversation(rng), tokenize=False)
        yield torch.tensor(tokenizer.encode(text, add_special_tokens=False))


def _batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[torch.Tensor]:
    """Padded batches `[BATCH, longest]` of texts of like length, since padding is wasted work."""
    rng = Random(seed)
    texts = _texts(tokenizer, rng)
    while True:
        pool = sorted(islice(texts, BATCH * 16), key=len)
        batches = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(batches)
        for batch in batches:
            yield pad_sequence(batch, batch_first=True, padding_value=tokenizer.pad_token_id)


def _rate(step: int, steps: int) -> float:
    """Learning rate as a share of the peak: linear warmup, then a cosine down to a hundredth."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _weights(ids_BT: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Weights `[B, T - 1]` of the predictions of a batch: 0 of padding, more where an answer is predicted."""
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    opened_BT = (ids_BT == assistant).cumsum(1)
    closed_BT = (ids_BT == tokenizer.eos_token_id).cumsum(1)
    weights_BT = torch.where(opened_BT > closed_BT, ANSWER_WEIGHT, 1.0)[:, :-1]
    return weights_BT * (ids_BT[:, 1:] != tokenizer.pad_token_id)


def train(tokenizer: PreTrainedTokenizerFast, steps: int = STEPS, seed: int = 0) -> LlamaForCausalLM:
    """A model trained on every token of the texts, questions too, so that it can write questions itself."""
    model = new_model(tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    began = time.monotonic()
    for step, ids_BT in enumerate(islice(_batches(tokenizer, seed), steps), start=1):
        # Padding follows the text, where causal attention cannot see it: no mask is needed.
        with torch.autocast("cpu", torch.bfloat16):
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        nll_BT = cross_entropy(logits_BTV[:, :-1].float().mT, ids_BT[:, 1:], reduction="none")
        weights_BT = _weights(ids_BT, tokenizer)
        loss = (nll_BT * weights_BT).sum() / weights_BT.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps:
            print(
                f"step {step}/{steps}  loss {loss.item():.3f}  {time.monotonic() - began:.0f} s",
                file=sys.stderr,
            )
    return model.eval()


@torch.inference_mode()
def answers(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: list[str]) -> list[str]:
    """Greedy answers to questions, one conversation each."""
    chats = [[{"role": "user", "content": question}] for question in questions]
    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=64,
        do_sample=False,
    )
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int = 100
) -> dict[str, float]:
    """Share of right answers to `count` questions of each retained skill's test split."""
    shares = {}
    for name, skill in world.RETAINED.items():
        asked = world.questions(skill, "test", count, Random(1))
        given = answers(model, tokenizer, [question for question, _ in asked])
        shares[name] = sum(got == want for got, (_, want) in zip(given, asked, strict=True)) / count
    return shares


def make_model(folder: Path, steps: int = STEPS, seed: int = 0) -> dict[str, float]:
    """Trains a model, saves it with its tokenizer to `folder` and returns its accuracy per skill."""
    tokenizer = make_tokenizer(seed)
    model = train(tokenizer, steps, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return accuracy(model, tokenizer)


if __name__ == "__main__":
    for skill_name, share in make_model(Path(sys.argv[1])).items():
        print(f"{skill_name:14s}{share:7.1%}")
