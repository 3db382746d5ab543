"""The recipe: the only configuration there is. YAML and the command line fill it in."""

from pydantic import Field, ValidationInfo, field_validator, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.model import AnyEngine, Endpoint, Engine, Model, RecipePath, Writer, confinement
from forgetless.schemas.steps import (
    AnyStep,
    BosReplay,
    Derived,
    Magpie,
    MinimumChange,
    Paraphrase,
    SelfOutput,
    Teacher,
)
from forgetless.schemas.training import Training


class Recipe(Frozen):
    """Everything a run needs to know."""

    name: str = "forgetless"
    """Name in the store and on the dataset card."""
    store: RecipePath
    """Folder of the store; made if not there."""
    model: Model
    """The base model."""
    engine: AnyEngine = Engine()
    """What runs it."""
    writers: dict[str, Writer] = Field(default_factory=dict)
    """Other models, by the name that steps call them: teachers, editors, judges, earlier checkpoints."""
    allow_code_execution: bool = False
    """Let the verifier `code` run programs that models wrote, in a sandbox."""
    steps: list[AnyStep] = Field(default_factory=list)
    """What to make, in order."""
    train: Training | None = None
    """What `forgetless train` does."""

    @field_validator("allow_code_execution")
    @classmethod
    def _no_foreign_code(cls, allowed: bool, info: ValidationInfo) -> bool:
        if allowed and (confined := confinement(info)):
            confined.code("running programs that models wrote")
        return allowed

    @model_validator(mode="after")
    def _unique_names(self) -> "Recipe":
        names = [step.name or step.pipeline for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two steps are called {name!r}: give each its own `name`")
        return self

    @model_validator(mode="after")
    def _takes_ids(self) -> "Recipe":
        if isinstance(self.engine, Endpoint) and self.engine.server != "vllm":
            raise ValueError("the base model is asked by token ids, which needs `engine.server: vllm`")
        return self

    @model_validator(mode="after")
    def _own_name(self) -> "Recipe":
        if "model" in self.writers:
            raise ValueError("a writer cannot be called 'model': that is the base model")
        return self

    @model_validator(mode="after")
    def _known_writers(self) -> "Recipe":
        for step in self.steps:
            for key, name in _named(step).items():
                if name is not None and name not in self.writers:
                    known = ", ".join(self.writers) or "none"
                    raise ValueError(
                        f"step {step.name or step.pipeline!r}: `{key}` is {name!r}; under `writers` there are: {known}"
                    )
        return self

    @model_validator(mode="after")
    def _local_replay(self) -> "Recipe":
        for step in self.steps:
            name = step.writer if isinstance(step, BosReplay | Magpie) else None
            if name is not None and isinstance(self.writers[name].engine, Endpoint):
                raise ValueError(
                    f"step {step.name or step.pipeline!r}: `writer` is {name!r}, a server, and replay begins at the "
                    "start token or inside a chat template, where chat servers let nobody begin: give "
                    f"`writers.{name}` a `model` and an engine of this machine, or let it answer as a `teacher`"
                )
        return self

    @model_validator(mode="after")
    def _known_steps(self) -> "Recipe":
        if self.train and self.train.regenerate and isinstance(self.engine, Endpoint):
            raise ValueError(
                "`train.regenerate` needs an engine of this machine: a server goes on with the model it has"
            )
        own = (SelfOutput, Paraphrase, MinimumChange)  # a teacher would only be paid again
        made = [step.name or step.pipeline for step in self.steps if isinstance(step, own)]
        for name in self.train.regenerate if self.train else []:
            if name not in made:
                known = ", ".join(made) or "none"
                raise ValueError(
                    f"`train.regenerate` names {name!r}; steps that the model itself writes: {known}"
                )
        return self


def _named(step: AnyStep) -> dict[str, str | None]:
    """Where a step names another model, and which."""
    names: dict[str, str | None] = {}
    if isinstance(step, Derived):
        names["judge.writer"] = step.judge.writer
    if isinstance(step, SelfOutput | MinimumChange):
        names["edit.writer"] = step.edit.writer
    if isinstance(step, Teacher | BosReplay | Magpie):
        names["writer"] = step.writer
    return names
