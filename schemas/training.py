"""What `forgetless train` does."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.constraints import Anchor, Average, Ewc, Freeze, Lora
from forgetless.schemas.model import RecipePath
from forgetless.schemas.objectives import Objective
from forgetless.schemas.steps import VerifierName


class Replay(Frozen):
    """What is mixed in so that the old is not forgotten."""

    name: str = "replay"
    """Name in the logs; each source's is its own."""

    sql: str = "SELECT id FROM records WHERE kind IN ('bos_replay', 'magpie', 'replay')"
    """Query with an `id` column over the snapshot."""
    share: float = Field(0.05, ge=0)
    """Replay per target: 0.05 adds 5 for every 100 (LAMOL's gamma)."""
    unit: Literal["examples", "tokens"] = "examples"
    """What the share counts; tokens are target tokens."""


class Stage(Frozen):
    """One task of several that are taught."""

    name: str
    """Of the task in `tasks` that it teaches."""
    targets: str
    """Query with an `id` column: what to learn."""


class Rehearsal(Frozen):
    """What a stage takes from the targets of each one before it."""

    share: float = Field(0.05, ge=0)
    """Per target of the stage, from each earlier one."""
    unit: Literal["examples", "tokens"] = "examples"
    """What the share counts; tokens are target tokens."""


class Task(Frozen):
    """A file of questions with known answers."""

    name: str
    """Name in the table."""
    path: RecipePath
    """JSONL with `prompt` and `reference`."""
    role: Literal["target", "retained"] = "retained"
    """target: what is being learned. retained: what must not be lost."""
    verifier: VerifierName = "exact"
    """How an answer is compared with the reference; with regex the reference is the pattern."""
    limit: int | None = Field(None, ge=1)
    """Only the first questions."""
    max_tokens: int = Field(128, ge=1)
    """Longest answer."""


class Watch(Frozen):
    """Measuring while training, on the first questions of every task."""

    every: int = Field(50, ge=1)
    """Steps between."""
    questions: int = Field(32, ge=1)
    """Of each task, and as many held-out records."""
    stop_below: float | None = Field(None, gt=0)
    """Forgetting budget: training stops when the mean accuracy of retained tasks, as a share of the base's, falls below
    this; 0.97 is usual."""


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
    replay: list[Replay] = Field(default_factory=lambda: [Replay()])
    """What to mix in, one source or several; null for none."""
    objectives: list[Objective] = Field(default_factory=list)
    """What a token counts: weights that multiply, terms that add up. Empty: plain cross entropy (SFT)."""
    normalise: Literal["weights", "tokens"] = "weights"
    """What a step's loss is divided by: the stored weights' sum, so that masking a share of the tokens leaves the
    step as long as without, or the number of supervised tokens, so that it shortens it (as a smaller learning
    rate would)."""
    lora: Lora | None = None
    """Train adapters instead of all weights; they are merged into the checkpoint."""
    freeze: Freeze | None = None
    """Weights that stay as they are."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout wherever the model has a place for it, in attention or between layers; 0 leaves it as the model has it."""
    anchor: Anchor | None = None
    """A penalty on the way from the weights that training starts from."""
    average: Average | None = None
    """Average with the base after training."""
    steps: int | None = Field(None, ge=1)
    """Optimiser steps; else `epochs` decides."""
    epochs: float = Field(1, gt=0)
    """Passes over targets and replay."""
    regenerate: list[str] = Field(default_factory=list)
    """Steps whose rows the model being trained writes anew before every epoch. Each epoch is then a run of its
    own: its own optimiser and schedule, `steps` of it if given, and a checkpoint in `output`/epoch-N."""
    stages: list[Stage] = Field(default_factory=list)
    """Several tasks, each a run of its own in `output`/NAME, instead of `targets`; after each all `tasks` are asked."""
    chained: bool = True
    """A stage goes on from the one before; else each begins at the same base."""
    rehearsal: Rehearsal | None = None
    """Real data of earlier stages, beside `replay`."""
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
    sharded: bool = False
    """With several processes: weights, gradients and optimiser state divided among them (FSDP2), instead of a whole
    copy in each (DDP)."""
    seed: int = 0
    """Order, packing and dropout."""
    save_every: int | None = Field(None, ge=1)
    """Steps between resumable checkpoints, kept until the run is done; a tenth of the run if not given."""
    tasks: list[Task] = Field(default_factory=list)
    """Questions asked before and after."""
    held_out: HeldOut | None = HeldOut()
    """Text whose cross entropy is measured before and after."""
    watch: Watch | None = None
    """Measure while training, and stop in time."""

    @field_validator("replay", mode="before")
    @classmethod
    def _sources(cls, given: object) -> object:
        """One source needs no list."""
        return [] if given is None else given if isinstance(given, list) else [given]

    @model_validator(mode="after")
    def _named(self) -> "Training":
        names = ["targets", *(source.name for source in self.replay)]
        if len(set(names)) < len(names):
            raise ValueError(
                f"sources of `replay` need names of their own, other than 'targets': {names[1:]}"
            )
        return self

    @model_validator(mode="after")
    def _constrained(self) -> "Training":
        if self.lora and self.anchor:
            raise ValueError("`anchor` holds weights that `lora` does not train: choose one")
        if self.lora and self.lora.init == "corda" and not self.replay:
            raise ValueError(
                "`lora.init: corda` keeps what the records of `replay` use, and there is no replay"
            )
        if isinstance(self.anchor, Ewc) and not self.anchor.fisher and not self.replay:
            raise ValueError("`anchor` of kind ewc needs `replay` to compute its `fisher` from, or a file")
        if self.average and self.average.keep == "best" and not self.tasks:
            raise ValueError("`average.keep: best` is judged by `tasks`, and there is none: name a number")
        return self

    @model_validator(mode="after")
    def _watched(self) -> "Training":
        if self.watch and self.watch.stop_below and not any(task.role == "retained" for task in self.tasks):
            raise ValueError("`watch.stop_below` is about retained `tasks`, and there is none")
        return self

    @model_validator(mode="after")
    def _staged(self) -> "Training":
        names = [stage.name for stage in self.stages]
        unknown = set(names) - {task.name for task in self.tasks}
        if unknown or len(set(names)) < len(names):
            raise ValueError(
                f"each of `stages` is named for another one of `tasks`, whose accuracy it raises: {names}"
            )
        if self.stages and self.regenerate:
            raise ValueError("`stages` and `regenerate` are two ways of training in several runs: choose one")
        if self.rehearsal and not (self.stages and self.chained):
            raise ValueError(
                "`rehearsal` takes from earlier `stages`, and there are none that a stage goes on from"
            )
        return self

    @model_validator(mode="after")
    def _regenerates(self) -> "Training":
        if self.regenerate and self.epochs != int(self.epochs):
            raise ValueError("with `regenerate` the rows change between epochs: `epochs` is a whole number")
        if self.regenerate and self.snapshot is not None:
            raise ValueError(
                "with `regenerate` each epoch reads the snapshot its rows are in: omit `snapshot`"
            )
        return self
