"""What goes into an engine and what comes out."""

from pydantic import Field

from forgetless.schemas.base import Frozen


class Message(Frozen):
    """One turn of a conversation."""

    role: str
    """system, user or assistant"""
    content: str
    """The turn's text, without the template's markers."""


class Sampling(Frozen):
    """How tokens are drawn."""

    temperature: float = Field(1.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus: the smallest set of tokens with at least this probability."""
    top_k: int = Field(0, ge=0)
    """Only the k most probable tokens; 0 is all."""
    max_tokens: int = Field(512, ge=1)
    """Longest continuation, in tokens."""


class Greedy(Sampling):
    """Sampling whose default is the most probable token, for answers."""

    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""
    max_tokens: int = Field(1024, ge=1)
    """Longest continuation, in tokens."""


class Request(Frozen):
    """One continuation asked of an engine."""

    id: str
    """Unique among the requests in flight."""
    prompt_ids: list[int]
    """Token ids of the prefix; never text, so that no tokenizer adds a second BOS. Empty with `messages`."""
    messages: list[Message] = Field(default_factory=list)
    """Instead of ids, for a server that renders and tokenises itself."""
    sampling: Sampling
    """How to draw."""
    seed: int
    """Seed of this request alone, 63 bits."""
    stop_ids: list[int] = Field(default_factory=list)
    """Tokens that end the continuation; the one met is kept as its last id."""
    stop_texts: list[str] = Field(default_factory=list)
    """Texts that end the continuation, for templates whose turn ends are no single token."""
    choices: list[str] = Field(default_factory=list)
    """The continuation is one of these texts, where there are any."""


class Result(Frozen):
    """A request that ended."""

    id: str
    """The request's id."""
    prompt_ids: list[int]
    """The prefix as the engine saw it."""
    token_ids: list[int]
    """Sampled ids, a stop token included; empty where the server gives none."""
    text: str | None = None
    """What was written, for `messages`, whose ids are the server's or none; of `choices` the one taken."""
    logprobs: list[float]
    """Natural log-prob of each sampled id at temperature 1, before top-p and top-k; empty where unknown."""
    prompt_scores: dict[str, str] = Field(default_factory=dict)
    """Of an engine that scores prompts of T tokens, arrays in base64: float32 `logprobs` and int32 `token_ids`
    [T-1, 1+K], the token that is there before the K most probable, and int32 `ranks` [T-1] of the former."""
    finish_reason: str
    """stop, length, or error"""
    error: str | None = None
    """Why the engine could not answer, with finish_reason error."""
