"""The steps of a recipe: one class per way of making data."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forgetless.schemas.base import Frozen
from forgetless.schemas.model import RecipePath
from forgetless.schemas.prompts import EDIT, FORBIDDEN, JUDGE, PARAPHRASE
from forgetless.schemas.request import Greedy, Sampling

VerifierName = Literal["choice", "code", "exact", "json", "math", "numeric", "refusal", "regex"]
"""How an answer is compared with its reference; `forgetless.curator.verifiers` says what each takes."""


class Contamination(Frozen):
    """Texts that must not be learned by heart: evaluation questions and their answers."""

    files: list[RecipePath] = Field(min_length=1)
    """JSONL, JSON, CSV, Parquet or plain text; every text column counts."""
    ngram: int = Field(13, ge=1)
    """Words in a row that count as the same text (13 in the GPT-3 paper)."""
    max_share: float = Field(0.0, ge=0, le=1)
    """Highest share of a text's n-grams that may occur in the files."""


class TextFilters(Frozen):
    """What any text must pass, made or imported. Each rejection is kept with its reason."""

    near_duplicate: float | None = Field(None, gt=0, le=1)
    """Refuse a text whose Jaccard similarity of word 5-grams to an earlier one is at least this."""
    near_duplicate_of: Literal["step", "store"] = "step"
    """What is earlier: rows of this step, or any record in the store."""
    contamination: Contamination | None = None
    """Refuse texts that overlap with evaluation files."""
    languages: list[str] = Field(default_factory=list)
    """ISO 639-1 codes of the languages wanted; needs the extra `language`. Empty: all."""


class Filters(TextFilters):
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
    """Text that a model writes from its start token alone.

    With the checkpoint of the stage before as `writer` this is LAMOL's replay (Sun et al. 2020) without the task token:
    samples of the previous model, mixed into the next task's data and learned whole (of `magpie`'s, the answers). Not
    LAMOL: the writer decides which tasks it samples, and how often; and it has learned a task's answers only (all of
    it where that is imported as raw `text`), not whole examples by a language-model loss: expect none of its prompts.
    """

    pipeline: Literal["bos_replay"]
    count: int = Field(ge=1)
    """Texts to ask for."""
    writer: str | None = None
    """Name under `writers` of another checkpoint of the model, run on this machine; the recipe's model if not given."""
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
    """Conversations that a model writes from the empty user turn of its chat template (Xu et al. 2024)."""

    pipeline: Literal["magpie"]
    count: int | None = Field(None, ge=1)
    """Conversations to ask for; with prepared questions at most, and all of them if not given."""
    writer: str | None = None
    """Name under `writers` of another checkpoint of the model, run on this machine; the recipe's model if not given."""
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
    reference: str | list[str] | None = None
    """Column, or columns joined by newlines, that a verifier holds answers against; the completion if not given."""
    limit: int | None = Field(None, ge=1)
    """Only the first rows."""
    filters: TextFilters = TextFilters()
    """What a row must pass."""


class Judge(Frozen):
    """A model that says whether an answer is right, its reply constrained to yes or no."""

    writer: str | None = None
    """Name under `writers`; the base model if not given."""
    prompt: str = JUDGE
    """Jinja text with prompt, reference and answer; yes accepts."""


class Edit(Frozen):
    """How a wrong answer is corrected, and how far the correction may go."""

    writer: str | None = None
    """Name under `writers` of the editor; the base model if not given."""
    prompt: str = EDIT
    """Jinja text with prompt, reference and answer."""
    sampling: Greedy = Greedy()
    """How the editor's tokens are drawn."""
    max_distance: float = Field(0.5, ge=0, le=1)
    """Largest edit distance to the own answer, as a share of the longer one's tokens."""
    max_drop: float = Field(1.0, ge=0)
    """How far the mean base log-prob of a token may fall below the own answer's, in nats."""


class Derived(Step):
    """What steps have in common that answer the prompts of ground truth anew."""

    sources: str = "SELECT id FROM records WHERE kind = 'ground_truth'"
    """Query with an `id` column: the ground truth whose prompts are answered."""
    limit: int | None = Field(None, ge=1)
    """Only the first of them, by the name of the step that imported them, then in their file's order."""
    verifier: Literal[VerifierName, "judge"] | None = None
    """What decides whether an answer is right; none: every answer is taken as it is."""
    judge: Judge = Judge()
    """With `verifier: judge`."""
    filters: Filters = Filters()
    """What an answer must pass before it is verified; answers to different prompts may be the same."""

    @model_validator(mode="after")
    def _may_repeat(self) -> "Derived":
        if self.filters.near_duplicate is not None:
            raise ValueError(
                "`filters.near_duplicate` is not for answers: those to different prompts may be alike"
            )
        return self


Rule = Literal["lowest_perplexity", "first_correct", "random_correct"]


class SelfOutput(Derived):
    """The model's own answers: sample, verify, choose (SSR, Huang et al. 2024, with a judge as verifier)."""

    pipeline: Literal["self_output"]
    samples: int = Field(8, ge=1)
    """Answers per prompt."""
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=1024)
    """How they are drawn."""
    choose: Rule = "lowest_perplexity"
    """Which of the right answers becomes the record; perplexity is the base model's."""
    keep: int = Field(1, ge=1)
    """Different right answers kept per prompt, best first; each is a record of its own."""
    none_right: Literal["drop", "reference", "minimum_change"] = "drop"
    """What becomes of a prompt without a right answer; the row says which it was."""
    edit: Edit = Edit()
    """With `none_right: minimum_change`."""

    @model_validator(mode="after")
    def _has_choice(self) -> "SelfOutput":
        if self.keep > self.samples:
            raise ValueError(f"`keep` is {self.keep}, and there are {self.samples} `samples` to keep from")
        if self.samples > 1 and self.sampling.temperature == 0:
            raise ValueError(
                "at temperature 0 all samples are the same answer: raise it, or set `samples: 1`"
            )
        return self


class Paraphrase(Derived):
    """The reference answer in the model's own wording (SDFT, Yang et al. 2024)."""

    pipeline: Literal["paraphrase"]
    prompt: str = PARAPHRASE
    """Jinja text with prompt and reference."""
    sampling: Greedy = Greedy()
    """How it is drawn."""
    forbidden: list[str] = Field(default=list(FORBIDDEN))
    """Phrases, in any case, that show that the text talks about its task instead of doing it."""
    none_right: Literal["drop", "reference"] = "reference"
    """What becomes of a prompt whose paraphrase is refused; the row says which it was."""


class MinimumChange(Derived):
    """The model's own answer, with only what is wrong corrected."""

    pipeline: Literal["minimum_change"]
    sampling: Greedy = Greedy()
    """How the own answer is drawn."""
    edit: Edit = Edit()
    """How it is corrected."""


class Teacher(Derived):
    """Another model's own answer."""

    pipeline: Literal["teacher"]
    writer: str
    """Name under `writers`."""
    sampling: Greedy = Greedy()
    """How it is drawn."""
    none_right: Literal["drop", "reference"] = "drop"
    """What becomes of a prompt whose answer is refused; the row says which it was."""


class Score(Frozen):
    """Log-prob, entropy and rank of every token under the base model."""

    pipeline: Literal["score"]
    name: str = "score"
    """Name in messages."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights; log-sum-exp is always fp32."""
    top_k: int = Field(0, ge=0, le=1024)
    """Also keep the k most probable tokens and the mass of all others."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs the model. vLLM is for models that need tensor parallelism; it gives no entropy."""
    long: Literal["reject", "windows"] = "reject"
    """What becomes of records longer than the model's context."""
    batch_tokens: int | None = Field(None, ge=64)
    """Tokens in one forward pass; what suits the device if not given."""
    max_reject_share: float = Field(0.9, ge=0, le=1)
    """With more records than this that cannot be scored, the run ends with exit code 3."""
    devices: int | None = Field(None, ge=1)
    """GPUs, each with a process of its own, all of them if not given; on a CPU processes, one if not given."""


AnyStep = Annotated[
    BosReplay | Magpie | Import | SelfOutput | Paraphrase | MinimumChange | Teacher | Score,
    Field(discriminator="pipeline"),
]
