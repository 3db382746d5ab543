"""The recipe: the only configuration there is. YAML and the command line fill it in."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.request import Greedy, Sampling


def _from_recipe(path: Path, info: ValidationInfo) -> Path:
    """Paths in a recipe are relative to the folder it lies in, which loading passes as context."""
    base = (info.context or {}).get("base")
    return path if base is None else base / path.expanduser()


RecipePath = Annotated[Path, AfterValidator(_from_recipe)]


class Model(Frozen):
    """The model that is to be fine-tuned, and that writes its own replay."""

    path: str
    """Folder with config.json, safetensors and tokenizer; or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    start_token: str | None = None
    """What a text starts with where the tokenizer has no BOS (Qwen: `<|endoftext|>`)."""
    chat_template: RecipePath | None = None
    """Jinja file to use instead of the tokenizer's own template."""
    trust_remote_code: bool = False
    """Execute code shipped with the model. Off: such models are refused."""

    @field_validator("path")
    @classmethod
    def _local_first(cls, path: str, info: ValidationInfo) -> str:
        local = _from_recipe(Path(path), info)
        return str(local) if local.exists() or path.startswith((".", "/", "~")) else path


class Engine(Frozen):
    """What runs the model."""

    kind: Literal["vllm", "transformers"] = "vllm"
    """vllm is fast; transformers is for where vLLM is not, or does not run the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; auto is what the model was saved in."""
    max_model_len: int | None = Field(None, ge=8)
    """Longest prompt plus continuation; the model's own limit if not given."""
    in_flight: int = Field(256, ge=1)
    """Requests in the engine at once."""
    memory_share: float | None = Field(None, gt=0, le=1)
    """Share of the device's memory vLLM may take; 0.9 on a GPU; on a CPU at most 0.25 of what is free."""
    enforce_eager: bool = False
    """Skip compilation: a faster start, a slower run."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""
    stall_seconds: float = Field(600, gt=0)
    """An engine that yields no token for this long is killed and started again."""


class Filters(Frozen):
    """What a generated row must pass to become a record. Each rejection is kept with its reason."""

    finished: bool | None = None
    """The model ended by itself. Default: wanted of chat answers, not of BOS text, where a cut is harmless."""
    min_tokens: int = Field(1, ge=0)
    """Shortest generated turn, in tokens, its end token not counted."""
    max_tokens: int | None = None
    """Longest generated turn, in tokens."""
    max_repetition: float = Field(0.5, ge=0, le=1)
    """Highest share of repeated 4-grams of tokens, 1 - distinct / all; judged from 32 tokens on."""
    deduplicate: bool = True
    """Refuse the same text a second time within one step."""


class Step(Frozen):
    """What the steps that make rows have in common."""

    name: str = ""
    """Name in the store and in messages; the pipeline's name if not given."""
    seed: int = 0
    """Another seed is another set of rows."""
    max_reject_share: float = Field(0.9, ge=0, le=1)
    """Above this share of rejected rows the command ends with exit code 3."""


class BosReplay(Step):
    """Text the model writes from its start token alone."""

    pipeline: Literal["bos_replay"]
    count: int = Field(ge=1)
    """Texts to ask for."""
    sampling: Sampling = Sampling()
    """How to draw; temperature 1 and no truncation sample the model's own distribution."""
    filters: Filters = Filters()
    """What a text must pass."""


class Steering(Frozen):
    """A system prompt that steers what the model asks about."""

    task: str
    """Name of the kind of task, stored with the rows."""
    prompt: str
    """System turn put before the empty user turn; it is not part of the record."""


class Questions(Frozen):
    """Prepared questions, whose answers alone are generated."""

    path: RecipePath
    """JSONL, JSON, CSV or Parquet file, or a Hugging Face dataset folder."""
    column: str | None = None
    """Column with the question; guessed from instruction, question, prompt, text if not given."""


class Magpie(Step):
    """Conversations the model writes from the empty user turn of its chat template (Xu et al. 2024)."""

    pipeline: Literal["magpie"]
    count: int | None = Field(None, ge=1)
    """Conversations to ask for; with prepared questions at most, and all of them if not given."""
    turns: int = Field(1, ge=1)
    """Question-answer pairs in a conversation."""
    steering: list[Steering] = Field(default_factory=list)
    """Taken in turn, one per conversation."""
    questions: Questions | None = None
    """Prepared first questions."""
    instruction: Sampling = Sampling()
    """How questions are drawn."""
    answer: Greedy = Greedy()
    """How answers are drawn; greedy by default, as in the paper."""
    filters: Filters = Filters()
    """What every generated turn must pass."""

    @model_validator(mode="after")
    def _has_count(self) -> "Magpie":
        if self.count is None and self.questions is None:
            raise ValueError("needs `count`, or `questions`")
        if self.steering and self.questions:
            raise ValueError("`steering` steers what is asked; with `questions` nothing is left to steer")
        return self


class Import(Step):
    """Existing data as records."""

    pipeline: Literal["import"]
    path: RecipePath
    """JSONL, JSON, CSV or Parquet file, or a Hugging Face dataset folder."""
    kind: Literal["ground_truth", "replay"] = "ground_truth"
    """ground_truth: what a task wants to hear. replay: real data of earlier training."""
    task: str | None = None
    """Task name, stored with the rows; the file's name if not given."""
    text: str | None = None
    """Column with raw text."""
    messages: str | None = None
    """Column with a list of {role, content}."""
    prompt: str | None = None
    """Column with the question; with `completion`."""
    completion: str | None = None
    """Column with the reference answer."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows."""


class Score(Frozen):
    """Log-prob, entropy and rank of every token under the base model."""

    pipeline: Literal["score"]
    name: str = "score"
    """Name in messages."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights; log-sum-exp is always fp32."""
    top_k: int = Field(0, ge=0, le=1024)
    """Also keep the k most probable tokens and the mass of all others."""
    batch_tokens: int = Field(8192, ge=64)
    """Tokens in one forward pass."""


AnyStep = Annotated[BosReplay | Magpie | Import | Score, Field(discriminator="pipeline")]


class Replay(Frozen):
    """What is mixed in so that the old is not forgotten."""

    sql: str = "SELECT id FROM records WHERE kind IN ('bos_replay', 'magpie', 'replay')"
    """Query with an `id` column over the snapshot."""
    share: float = Field(0.05, ge=0)
    """Replay per target: 0.05 adds 5 for every 100 (LAMOL's gamma)."""
    unit: Literal["examples", "tokens"] = "examples"
    """What the share counts; tokens are target tokens."""


class TokenMask(Frozen):
    """Selective Token Masking: leave the hardest target tokens out of the loss (STM, Lin et al. 2025)."""

    threshold: float | None = Field(None, gt=1)
    """Drop tokens whose base perplexity exceeds this; 2.5 in the paper."""
    share: float | None = Field(None, gt=0, lt=1)
    """Or drop this share of the target tokens, hardest first; 0.22 to 0.24 in the paper."""

    @model_validator(mode="after")
    def _one(self) -> "TokenMask":
        if (self.threshold is None) == (self.share is None):
            raise ValueError("needs either `threshold` or `share`")
        return self


class Lora(Frozen):
    """Low-rank adapters on all linear layers."""

    rank: int = Field(16, ge=1)
    """Rank r."""
    alpha: int = Field(32, ge=1)
    """Scale; the update is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""


class Task(Frozen):
    """A file of questions with known answers."""

    name: str
    """Name in the table."""
    path: RecipePath
    """JSONL with `prompt` and `reference`."""
    role: Literal["target", "retained"] = "retained"
    """target: what is being learned. retained: what must not be lost."""
    verifier: Literal["exact", "numeric", "regex"] = "exact"
    """How an answer is compared with the reference; with regex the reference is the pattern."""
    limit: int | None = Field(None, ge=1)
    """Only the first questions."""
    max_tokens: int = Field(128, ge=1)
    """Longest answer."""


class HeldOut(Frozen):
    """Records kept out of training, on whose target tokens cross entropy is measured."""

    sql: str = "SELECT id FROM records WHERE kind IN ('bos_replay', 'magpie', 'replay')"
    """Query with an `id` column; the first `count` of its ids in id order are held out."""
    count: int = Field(64, ge=0)
    """Records to hold out."""


class Training(Frozen):
    """Fine-tuning that remembers, and its measurement."""

    output: RecipePath
    """Folder for the checkpoint and its report."""
    name: str = ""
    """Name in the evals table; the output folder's name if not given."""
    snapshot: int | None = None
    """Snapshot to read; the newest at the start if not given."""
    targets: str = "SELECT id FROM records WHERE kind = 'ground_truth'"
    """Query with an `id` column: what to learn."""
    replay: Replay | None = Replay()
    """What to mix in; null for none."""
    token_mask: TokenMask | None = None
    """Selective Token Masking of targets; replay is never masked. Needs scores."""
    lora: Lora | None = None
    """Train adapters instead of all weights; they are merged into the checkpoint."""
    steps: int | None = Field(None, ge=1)
    """Optimiser steps; else `epochs` decides."""
    epochs: float = Field(1, gt=0)
    """Passes over targets and replay."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """What follows the warmup."""
    warmup_share: float = Field(0.03, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""
    batch_size: int = Field(8, ge=1)
    """Packed sequences in a batch."""
    accumulation: int = Field(1, ge=1)
    """Batches per optimiser step."""
    max_length: int = Field(1024, ge=8)
    """Tokens in a packed sequence; longer records are cut, with a warning."""
    packing: bool = True
    """Several records in a sequence, none seeing another; else one record per sequence."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 trains under autocast; weights stay fp32."""
    seed: int = 0
    """Order, packing and dropout."""
    save_every: int | None = Field(None, ge=1)
    """Steps between resumable checkpoints, kept until the run is done; a tenth of the run if not given."""
    tasks: list[Task] = Field(default_factory=list)
    """Questions asked before and after."""
    held_out: HeldOut | None = HeldOut()
    """Text whose cross entropy is measured before and after."""


class Recipe(Frozen):
    """Everything a run needs to know."""

    name: str = "forgetless"
    """Name in the store and on the dataset card."""
    store: RecipePath
    """Folder of the store; made if not there."""
    model: Model
    """The base model."""
    engine: Engine = Engine()
    """What runs it."""
    steps: list[AnyStep] = Field(default_factory=list)
    """What to make, in order."""
    train: Training | None = None
    """What `forgetless train` does."""

    @model_validator(mode="after")
    def _unique_names(self) -> "Recipe":
        names = [step.name or step.pipeline for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two steps are called {name!r}: give each its own `name`")
        return self
