"""Which model, and what runs it."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from forgetless.schemas.base import Frozen
from forgetless.schemas.confinement import Confinement


def confinement(info: ValidationInfo) -> Confinement | None:
    """What holds for settings that came over the network; None for those of the command line."""
    found: Confinement | None = (info.context or {}).get("confinement")
    return found


def _from_recipe(path: Path, info: ValidationInfo) -> Path:
    """Paths in a recipe are relative to the folder it lies in, which loading passes as context."""
    base = (info.context or {}).get("base")
    placed = path if base is None else base / path.expanduser()
    confined = confinement(info)
    return confined.path(placed) if confined else placed


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

    @field_validator("trust_remote_code")
    @classmethod
    def _no_foreign_code(cls, trusted: bool, info: ValidationInfo) -> bool:
        if trusted and (confined := confinement(info)):
            confined.code("code shipped with a model")
        return trusted


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


class Endpoint(Frozen):
    """A server that speaks OpenAI's protocol: `vllm serve`, or a hosted model."""

    kind: Literal["openai"]
    """What tells an endpoint from an engine of this machine."""
    model: str
    """The model's name on the server."""
    base_url: str = "https://api.openai.com/v1"
    """Where the server's routes begin."""
    server: Literal["vllm", "openai"] = "openai"
    """vllm also takes token ids and gives back those it sampled; others are sent what OpenAI documents."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key; it is neither printed nor stored."""
    in_flight: int = Field(16, ge=1)
    """Requests at once."""
    timeout_seconds: float = Field(120, gt=0)
    """Longest wait for one answer."""
    retries: int = Field(5, ge=0)
    """Further tries, with growing pauses, after 429, 5xx, a lost connection or a timeout."""

    @model_validator(mode="after")
    def _plain_url(self) -> "Endpoint":
        """Held by the whole endpoint, not by the field: an error in the field would print what was given."""
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("`base_url` must begin with http:// or https:// and a host")
        if url.username or url.password or url.query:
            raise ValueError(
                "`base_url` carries credentials or a query: give the server's address alone, and put the "
                "key into the environment variable that `api_key_env` names"
            )
        return self

    @model_validator(mode="after")
    def _allowed(self, info: ValidationInfo) -> "Endpoint":
        if confined := confinement(info):
            confined.endpoint(self.base_url, self.api_key_env)
        return self


def _engine_kind(value: Any) -> str:
    if isinstance(value, dict):  # who gives an address means a server, and is told what `kind` that is
        return "endpoint" if value.get("kind") == "openai" or "base_url" in value else "local"
    return "endpoint" if getattr(value, "kind", None) == "openai" else "local"


AnyEngine = Annotated[
    Annotated[Engine, Tag("local")] | Annotated[Endpoint, Tag("endpoint")], Discriminator(_engine_kind)
]


class Writer(Frozen):
    """Another model that writes: a teacher, an editor, a judge, or a checkpoint that writes replay."""

    model: Model | None = None
    """Folder or hub id; not needed where the engine is an endpoint."""
    engine: AnyEngine = Engine()
    """What runs it."""

    @model_validator(mode="after")
    def _runs(self) -> "Writer":
        if self.model is None and isinstance(self.engine, Engine):
            raise ValueError("needs `model`, or an engine of kind openai")
        return self
