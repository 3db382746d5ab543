"""What a token counts in the loss, and what is added to it: the objectives of `train.objectives`.

Their weights multiply, their terms add up; none of them is plain cross entropy (SFT). Weights concern the targets alone:
replay is the model's own text, and all of it counts.
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, model_validator

from forgetless.schemas.base import Frozen


class Stored(Frozen):
    """An objective that reads statistics from the store."""

    scorer: str | None = Field(None, min_length=1)
    """Whose statistics: the beginning of a scorer's fingerprint, or the name that `import-stats` gave it; the base
    model's own if not given."""


class Stm(Stored):
    """Selective Token Masking: leave the hardest target tokens out of the loss (Lin et al. 2025)."""

    objective: Literal["stm"] = "stm"
    """Which one."""
    threshold: float | None = Field(None, gt=1)
    """Drop tokens whose perplexity exceeds this; 2.5 in the paper."""
    share: float | None = Field(None, gt=0, lt=1)
    """Or drop this share of the target tokens; 0.22 to 0.24 in the paper."""
    order: Literal["hardest", "random", "easiest"] = "hardest"
    """Which are dropped: the two others are the paper's controls. Of them as many as `hardest` would drop."""

    @model_validator(mode="after")
    def _one(self) -> "Stm":
        if (self.threshold is None) == (self.share is None):
            raise ValueError("needs either `threshold` or `share`")
        return self


class StmLowBoth(Stored):
    """Drop tokens that are among the least probable and the least uncertain at once (pilot of EAFT, 2026)."""

    objective: Literal["stm_low_both"] = "stm_low_both"
    """Which one."""
    share: float = Field(0.15, gt=0, lt=1)
    """Quantile of probability and of entropy over all target tokens."""


class Flow(Stored):
    """Weight of an example: exp(-mean nll / temperature) under the base (FLOW, Sanyal et al. 2025)."""

    objective: Literal["flow"] = "flow"
    """Which one."""
    temperature: float | None = Field(None, gt=0)
    """Nats; the median over the targets if not given."""
    renormalise: bool = False
    """Weights times a constant that makes their mean over the targets' tokens 1."""


class EaftStored(Stored):
    """EAFT's weight from the base's stored entropy instead of the current model's: a variant of ours."""

    objective: Literal["eaft_stored"] = "eaft_stored"
    """Which one."""
    alpha: float = Field(1.0, gt=0)
    """Exponent."""
    top_k: int = Field(20, ge=2)
    """Most probable tokens whose entropy it is; so many must be stored."""


class Eaft(Frozen):
    """Weight (entropy of the current top k / ln k) ^ alpha, detached (EAFT, 2026)."""

    objective: Literal["eaft"] = "eaft"
    """Which one."""
    alpha: float = Field(1.0, gt=0)
    """Exponent."""
    top_k: int = Field(20, ge=2)
    """Most probable tokens whose entropy it is, their probabilities summing to 1."""


class Dft(Frozen):
    """Weight p(token) under the current model, detached (DFT, Wu et al. 2025)."""

    objective: Literal["dft"] = "dft"
    """Which one."""


class Talr(Frozen):
    """Weight exp(-nll / temperature) under the current model, detached (TALR, Lin et al. 2025)."""

    objective: Literal["talr"] = "talr"
    """Which one."""
    temperature: float | None = Field(None, gt=0)
    """Nats; the median of the batch if not given."""


class Psft(Stored):
    """-min(r, clip(r, 1 - low, 1 + high)) instead of cross entropy, r = p / p_base (PSFT, Zhu et al. 2025)."""

    objective: Literal["psft"] = "psft"
    """Which one."""
    low: float = Field(0.2, ge=0, lt=1)
    """Clip below."""
    high: float = Field(0.28, ge=0)
    """Clip above: a token that has become so much more probable is learned no further."""


class Rho1(Stored):
    """Learn only the tokens of a batch whose nll exceeds the reference's most (Rho-1, Lin et al. 2024).

    The reference is a model tuned on good data, and scored like any other; with the base itself all excess begins at
    zero.
    """

    objective: Literal["rho1"] = "rho1"
    """Which one."""
    share: float = Field(0.6, gt=0, lt=1)
    """Of the batch's target tokens."""


class Kl(Stored):
    """Adds beta · KL(base ‖ current) per token, from the stored top k and one bucket for the rest."""

    objective: Literal["kl"] = "kl"
    """Which one."""
    beta: float = Field(0.1, gt=0)
    """Weight of the term; 0.1 to 0.5 is usual."""
    over: Literal["all", "targets", "replay"] = "all"
    """Whose tokens."""
    live: bool = False
    """Over the whole vocabulary, from the base model computed beside: exact, and dearer. Needs no scores."""


Objective = Annotated[
    Stm | StmLowBoth | Flow | EaftStored | Eaft | Dft | Talr | Psft | Rho1 | Kl, Discriminator("objective")
]
