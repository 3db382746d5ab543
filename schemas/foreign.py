"""Token statistics that somebody else has published: where they lie and what their columns mean."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.outcome import Kind


class ForeignStats(Frozen):
    """A file of records with a log-prob or a perplexity per token. Columns that are not named are guessed."""

    path: Path
    """Parquet or Arrow file."""
    ids: str | None = None
    """Column with a list of token ids."""
    text: str | None = None
    """Column with the text: what people read, and without ids what is tokenised."""
    logprob: str | None = None
    """Column with a list of natural log-probs, one per token, or one per token but the first."""
    perplexity: str | None = None
    """Or column with a list of perplexities, exp of the negative log-prob."""
    labels: str | None = None
    """Column with a list of labels; tokens that are not -100 are targets."""
    mask: str | None = None
    """Or column with a list of flags; tokens whose flag is not 0 are targets."""
    spans: str | None = None
    """Or column with a list of {start, end}."""
    prompt_length: str | None = None
    """Or column with a number of tokens; those behind them are targets."""
    answer_after: list[int] = Field(default_factory=list)
    """Or token ids; what follows their last occurrence is the target."""
    tokenizer: Path | None = None
    """Folder of the tokenizer that the ids are of; `model`'s if not given."""
    model: str | None = None
    """Folder or hub id of the model that the statistics are of."""
    scorer: str = ""
    """Name of what made the statistics; the file's name if not given."""
    dtype: str | None = None
    """Type of its weights, where that is known."""
    kind: Kind = "imported"
    """Kind of the records."""
    task: str = ""
    """Task name, stored with the records; the file's name if not given."""
    max_reject_share: float = Field(0.9, ge=0, le=1)
    """Over this share of rejects the command fails with exit code 3; what was stored stays."""

    @model_validator(mode="after")
    def _one_of_each(self) -> "ForeignStats":
        if self.logprob and self.perplexity:
            raise ValueError("--logprob or --perplexity, not both")
        ways = ("labels", "mask", "spans", "prompt_length", "answer_after")
        if len(named := [way.replace("_", "-") for way in ways if getattr(self, way)]) > 1:
            raise ValueError(f"there is one way to tell targets, not --{' and --'.join(named)}")
        return self

    @property
    def name(self) -> str:
        """The scorer's name."""
        return self.scorer or self.path.stem


Column = Literal["ids", "text", "logprob", "perplexity", "labels", "mask", "spans", "prompt_length"]
