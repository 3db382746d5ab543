"""What keeps weights near the base while they are trained, and after: the constraints of `train`."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.model import RecipePath

Init = Literal["default", "gaussian", "orthogonal", "pissa", "olora", "corda", "mica", "osf"]
REPLACES_WEIGHTS = ("mica", "osf")
"""Initialisations that are a method of their own, which DoRA cannot be joined with."""


class Lora(Frozen):
    """Low-rank adapters; merged into the checkpoint in the end."""

    rank: int = Field(16, ge=1)
    """Rank r."""
    alpha: int = Field(32, ge=1)
    """Scale; the update is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    targets: Literal["all-linear"] | list[str] = Field("all-linear", min_length=1)
    """Names of the linear layers that get one, such as q_proj; all but the head if not given."""
    dora: bool = False
    """Learn each row's length apart from its direction (DoRA, Liu et al. 2024)."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023)."""
    init: Init = "default"
    """Where adapters begin, by PEFT's names. Away from what the base uses most: corda (knowledge-preserved mode: the
    directions that matter least on the records of `replay`, Yang et al. 2024), mica (the smallest singular directions,
    held; only A is trained), osf (the smallest singular values and their directions, gradients orthogonal to all else,
    Nayak et al. 2025; `alpha` has no meaning for it). For comparison: pissa (the largest singular directions, Meng et
    al. 2024), olora (QR, Büyükakyüz 2024), orthogonal, gaussian, and default: A random, B zero."""

    @model_validator(mode="after")
    def _joined(self) -> "Lora":
        if self.init in REPLACES_WEIGHTS and (self.dora or (self.init == "osf" and self.rslora)):
            raise ValueError(
                f"`init: {self.init}` is a method of its own: leave `dora`{' and `rslora`' * (self.init == 'osf')} out"
            )
        if self.init == "osf" and self.dropout:
            raise ValueError("`init: osf` has no `dropout`")
        if self.init == "orthogonal" and self.rank % 2:
            raise ValueError(f"`init: orthogonal` needs an even `rank`, not {self.rank}")
        return self


class Freeze(Frozen):
    """Weights that stay as they are."""

    embeddings: bool = False
    """All embeddings. Where the head shares their weights it stays as well."""
    bottom_layers: int = Field(0, ge=0)
    """The first so many layers."""


class L2(Frozen):
    """Adds strength / 2 · Σ (θ − θ₀)², θ₀ the weights that training starts from (L2-SP, Li et al. 2018)."""

    kind: Literal["l2"] = "l2"
    """Which one."""
    strength: float = Field(gt=0)
    """Factor of the penalty, in nats of the step's loss."""


class Ewc(Frozen):
    """Adds strength / 2 · Σ F (θ − θ₀)², F the diagonal Fisher information (EWC, Kirkpatrick et al. 2017)."""

    kind: Literal["ewc"] = "ewc"
    """Which one."""
    strength: float = Field(gt=0)
    """Factor of the penalty, in nats of the step's loss."""
    fisher: RecipePath | None = None
    """Safetensors file of F by parameter name, such as another run's `output`/anchor/fisher.safetensors; computed from
    `replay` if not given."""
    records: int = Field(256, ge=1)
    """Replay records that F is computed from, at most."""


Anchor = Annotated[L2 | Ewc, Discriminator("kind")]


class Average(Frozen):
    """Weights between base and tuned after training, (1 − alpha) · base + alpha · tuned (WiSE-FT, Wortsman et al. 2022)."""

    alphas: list[Annotated[float, Field(ge=0, le=1)]] = Field([0, 0.25, 0.5, 0.75, 1], min_length=1)
    """Values of alpha that are measured; with `lora` this is a sweep of the adapters' scale."""
    keep: Literal["best"] | Annotated[float, Field(ge=0, le=1)] = "best"
    """Alpha of the checkpoint. best: the highest mean of target accuracy and mean retained accuracy, of equals the
    largest alpha. It is chosen by the questions that are reported: for a fair figure name a number."""

    @property
    def measured(self) -> list[float]:
        """All values of alpha, in order."""
        return sorted({*self.alphas, *([] if self.keep == "best" else [self.keep])})
