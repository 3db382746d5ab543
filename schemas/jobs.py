"""What a job of the service may be: a verb of the command line with its arguments and options.

Fields are called as the options are, and mean the same. What is not given is left to the command line's defaults.
Options that would let code be executed are not here. Stores are given by the name that the service knows them by;
other paths lie inside the service's roots, and relative ones are taken from the first of them.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.outcome import Kind

Place = Literal["store", "path", "written", "model", "recipe", "suite", "study"]
"""What a field names. written: a folder or file that the job writes. recipe, suite, study: settings, written out."""


def _no_zero(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _check_nesting(data: Any, left: int) -> None:
    if not left:
        raise ValueError(f"is nested more than {NESTED} deep")
    if isinstance(data, dict | list):
        for each in data.values() if isinstance(data, dict) else data:
            _check_nesting(each, left - 1)


NESTED = 50
"""Mappings and lists within each other."""

Text = Annotated[str, Field(min_length=1, max_length=10_000), AfterValidator(_no_zero)]
Settings = str | dict[str, Any]
"""YAML, or what it would say."""


class Verb(Frozen):
    """What all have in common."""

    ARGUMENTS: ClassVar[tuple[str, ...]] = ()
    """Fields that stand behind the options, in order."""
    PLACES: ClassVar[dict[str, Place]] = {}
    """Fields that name a place or hold settings."""
    APART: ClassVar[frozenset[str]] = frozenset({"verb", "base", "overrides"})
    """Fields that are no option: settings are written out with what they say."""
    JSON: ClassVar[bool] = True
    """It prints JSON, if asked."""

    verb: str

    @model_validator(mode="before")
    @classmethod
    def _can_be_written(cls, data: Any) -> Any:
        """Half of a surrogate pair, NaN and infinity can be read as JSON, but not be told again; nor what is endlessly
        nested."""
        _check_nesting(data, NESTED)
        try:
            json.dumps(data, ensure_ascii=False, allow_nan=False, default=str).encode()
        except ValueError:
            raise ValueError("holds characters or numbers that JSON has no place for") from None
        return data

    def given(self) -> dict[str, Any]:
        """Fields that were set."""
        return {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}

    def words(self) -> list[str]:
        """The command."""
        return [self.verb]

    def argv(self, placed: Mapping[str, Any]) -> list[str]:
        """The command line's arguments, with `placed` values for the fields of `PLACES`."""
        values = self.given() | dict(placed)
        options = [
            option
            for name, value in sorted(values.items())
            if name not in self.APART and name not in self.ARGUMENTS
            for option in _option(name, value)
        ]
        arguments = [each for name in self.ARGUMENTS if name in values for each in _listed(values[name])]
        return [*self.words(), *options, *(["--json"] if self.JSON else []), "--", *arguments]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name.replace('_', '-')}"] if value else []
    return [f"--{name.replace('_', '-')}={each}" for each in _listed(value)]


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


class OfRecipe(Verb):
    """A verb that takes a recipe."""

    ARGUMENTS = ("recipe",)
    PLACES: ClassVar[dict[str, Place]] = {"recipe": "recipe"}

    recipe: Settings
    base: Text | None = None
    """Folder that the recipe's relative paths are taken from; the first root if not given."""
    overrides: list[Text] = Field(default_factory=list, max_length=100)
    """`a.b=value`, on top of the recipe."""
    dry_run: bool = False
    """Only the plan."""


class Build(OfRecipe):
    """Make what a recipe names: replay, imports, scores."""

    verb: Literal["build"]


class Train(OfRecipe):
    """Fine-tune as the recipe's `train` says, and measure before and after."""

    verb: Literal["train"]


class Score(Verb):
    """Log-prob, entropy and rank of every token of every record that the model has not scored yet."""

    ARGUMENTS = ("store",)
    PLACES: ClassVar[dict[str, Place]] = {"store": "store", "model": "model"}
    JSON = False

    verb: Literal["score"]
    store: Text
    model: Text | None = None
    """Folder or hub id; the model of the store's last build if not given."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    top_k: int = Field(0, ge=0)
    """Also keep the k most probable tokens."""
    long: Literal["reject", "windows"] = "reject"
    """What becomes of records longer than the model's context."""
    engine: Literal["transformers", "vllm"] = "transformers"
    tensor_parallel: int | None = Field(None, ge=1)
    """GPUs for one copy, with vllm."""
    devices: int | None = Field(None, ge=1)
    """GPUs with a copy each; all of them if not given."""
    batch_tokens: int | None = Field(None, ge=64)
    """Tokens in one forward pass."""


class ImportStats(Verb):
    """Take records with published per-token log-probs or perplexities. Columns that are not named are guessed."""

    ARGUMENTS = ("store", "file")
    PLACES: ClassVar[dict[str, Place]] = {
        "store": "store",
        "file": "path",
        "tokenizer": "path",
        "model": "model",
    }

    verb: Literal["import-stats"]
    store: Text
    file: Text
    """Parquet or Arrow."""
    ids: Text | None = None
    """Column with lists of token ids."""
    text: Text | None = None
    logprob: Text | None = None
    perplexity: Text | None = None
    labels: Text | None = None
    mask: Text | None = None
    spans: Text | None = None
    prompt_length: Text | None = None
    answer_after: Text | None = None
    """Token ids, separated by commas; what follows them is the target."""
    tokenizer: Text | None = None
    """Folder of the ids' tokenizer."""
    model: Text | None = None
    """Folder or hub id of the model that the statistics are of."""
    scorer: Text | None = None
    """Name of what made them; the file's name if not given."""
    dtype: Text | None = None
    kind: Kind = "imported"
    """Of the records."""
    task: Text | None = None
    """Of the records; the file's name if not given."""
    max_reject_share: float = Field(0.9, ge=0, le=1)
    dry_run: bool = False
    """Read all of it and write nothing."""


class Eval(Verb):
    """What a model can do, how it behaves, how far it has moved."""

    ARGUMENTS = ("model",)
    PLACES: ClassVar[dict[str, Place]] = {
        "model": "model",
        "suite": "suite",
        "base": "model",
        "store": "store",
    }
    APART = frozenset({"verb", "suite_base"})

    verb: Literal["eval"]
    model: Text
    """Folder or hub id."""
    suite: Settings
    """What to measure."""
    suite_base: Text | None = None
    """Folder that the suite's relative paths are taken from; the first root if not given."""
    base: Text | None = None
    """Model that it was fine-tuned from: for KL, and coherence."""
    store: Text | None = None
    """Read by queries, and given the figures."""
    seed: int | None = None
    """Of the training that made the model; stored with the figures."""
    name: Text | None = None
    """Name in the store's `evals`; the model's folder if not given."""


class Study(Verb):
    """What forgetting and its remedies look like on a model and its tasks, over several seeds."""

    ARGUMENTS = ("findings",)
    PLACES: ClassVar[dict[str, Place]] = {"file": "study", "folder": "written"}

    verb: Literal["study"]
    findings: list[Text] = Field(default_factory=list, max_length=100)
    """Which; all if none is named."""
    file: Settings | None = None
    """The study; that of the demo's world if not given."""
    base: Text | None = None
    """Folder that the study's relative paths are taken from; the first root if not given."""
    folder: Text = "study-run"
    """Where to work."""
    jobs: int | None = Field(None, ge=1)
    """Runs at a time."""
    dry_run: bool = False

    def given(self) -> dict[str, Any]:
        return {"folder": self.folder} | super().given()


class Export(Verb):
    """Records as a dataset that other trainers load."""

    ARGUMENTS = ("store",)
    PLACES: ClassVar[dict[str, Place]] = {"store": "store", "to": "written"}

    verb: Literal["export"] = "export"
    store: Text
    to: Text | None = None
    """Folder to write; one of the job's own if not given."""
    format: Literal[
        "trl",
        "prompt-completion",
        "messages",
        "axolotl",
        "axolotl-kd",
        "ms-swift",
        "llama-factory",
        "parquet",
    ]
    where: Text = "true"
    """Condition on `records`, in SQL."""
    snapshot: int | None = Field(None, ge=1)
    """The newest if not given."""
    mask_threshold: float | None = Field(None, gt=1)
    """No label for target tokens whose stored perplexity exceeds it."""
    mask_share: float | None = Field(None, gt=0, lt=1)
    """Or for this share of the target tokens, the hardest."""
    scorer: Text | None = None
    """Whose scores; needed where several models have scored the records."""

    @model_validator(mode="after")
    def _one_mask(self) -> "Export":
        if self.mask_threshold and self.mask_share:
            raise ValueError("give either `mask_threshold` or `mask_share`")
        return self

    def given(self) -> dict[str, Any]:
        return super().given() | {"verb": self.verb}


class Compact(Verb):
    """Few large files in the place of many small ones."""

    ARGUMENTS = ("store",)
    PLACES: ClassVar[dict[str, Place]] = {"store": "store"}

    verb: Literal["compact"]
    store: Text
    vacuum: bool = False
    """Also drop the files that neither a snapshot nor the present state needs."""


class Verify(Verb):
    """Check that a store is whole: readable, as written, ids unique."""

    ARGUMENTS = ("store",)
    PLACES: ClassVar[dict[str, Place]] = {"store": "store"}

    verb: Literal["verify"]
    store: Text


class Report(Verb):
    """A store, or trainings, as one page to look at."""

    ARGUMENTS = ("runs",)
    PLACES: ClassVar[dict[str, Place]] = {"store": "store", "runs": "path", "to": "written"}
    JSON = False

    verb: Literal["report"]
    store: Text | None = None
    """What to show; with runs: their store, if it is not where it was."""
    runs: list[Text] = Field(default_factory=list, max_length=100)
    """Or output folders of trainings."""
    to: Text | None = None
    """The page; `report.html` in the job's folder if not given."""
    task: Text | None = None
    scorer: Text | None = None
    snapshot: int | None = Field(None, ge=1)
    examples: int = Field(5, ge=0, le=50)
    """Prompts whose answers, or targets whose weights, are drawn token by token."""

    @model_validator(mode="after")
    def _of_something(self) -> "Report":
        if not (self.store or self.runs):
            raise ValueError("give a `store`, or `runs`")
        return self

    def argv(self, placed: Mapping[str, Any]) -> list[str]:
        """Without runs it is the store that is shown."""
        if "runs" in placed:
            return super().argv(placed)
        without = {name: value for name, value in placed.items() if name != "store"}
        shown = self.model_copy(update={"store": None})
        return Verb.argv(shown, without | {"runs": placed["store"]})


class Demo(Verb):
    """The whole product on the models that ship with it."""

    PLACES: ClassVar[dict[str, Place]] = {"folder": "written"}
    APART = frozenset({"verb", "which", "overrides"})
    JSON = False

    verb: Literal["demo"]
    which: Literal["forgetting", "targets"] = "forgetting"
    """forgetting: replay, scores, three trainings. targets: a task's answers in the model's own words."""
    folder: Text | None = None
    """Where to work; `demo-run` or `demo-targets` if not given."""
    overrides: list[Text] = Field(default_factory=list, max_length=100)
    """`a.b=value`, on top of the demo's recipe."""

    def given(self) -> dict[str, Any]:
        return {"folder": "demo-targets" if self.which == "targets" else "demo-run"} | super().given()

    def words(self) -> list[str]:
        sub = ["targets"] if self.which == "targets" else []
        return ["demo", *sub, *(f"--set={override}" for override in self.overrides)]


class Check(Verb):
    """What a verifier says of answers whose references you know."""

    ARGUMENTS = ("verifier", "file")
    PLACES: ClassVar[dict[str, Place]] = {"file": "path", "recipe": "recipe"}

    verb: Literal["check"]
    verifier: Literal["choice", "exact", "json", "math", "numeric", "refusal", "regex", "judge"]
    file: Text
    """JSONL with `answer` and `reference`."""
    recipe: Settings | None = None
    """For `judge`: the recipe with its model."""
    base: Text | None = None
    """Folder that the recipe's relative paths are taken from; the first root if not given."""
    overrides: list[Text] = Field(default_factory=list, max_length=100)
    """`a.b=value`, on top of the recipe."""


class Bench(Verb):
    """How fast it is here."""

    APART = frozenset({"verb", "what"})

    verb: Literal["bench"]
    what: Literal["generate", "score", "train", "store", "dedup"]
    rounds: int | None = Field(None, ge=1)
    """Of all sides."""

    def words(self) -> list[str]:
        return ["bench", self.what]


AnyJob = Annotated[
    Build
    | Train
    | Score
    | ImportStats
    | Eval
    | Study
    | Export
    | Compact
    | Verify
    | Report
    | Demo
    | Check
    | Bench,
    Field(discriminator="verb"),
]
