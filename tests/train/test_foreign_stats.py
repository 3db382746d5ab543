"""Published statistics decide what a model learns: their mask trains one step of a model with their vocabulary."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from published import END, MARKER, STM, VOCABULARY, rows, target_perplexities, write

from forgetless.curator.recipes import load_recipe
from forgetless.curator.store import Store
from forgetless.pipelines.import_stats import StatsImport
from forgetless.schemas.errors import UsageError
from forgetless.schemas.foreign import ForeignStats
from forgetless.train.run import prepare


def random_llama(folder: Path, vocabulary: int) -> Path:
    """A Llama of random weights with a vocabulary of so many words, whose end is Llama 3's."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = {f"t{i}": i for i in range(vocabulary)}
    end = f"t{min(END, vocabulary - 1)}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(names, unk_token="t0")), bos_token="t1", eos_token=end
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("llama"), VOCABULARY)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write(tmp_path / "made.parquet", rows())


def recipe(folder: Path, model: Path, file: Path, **mask: Any) -> Path:
    """A store of the file's records beside a recipe that trains on them for a step."""
    asked = ForeignStats(path=file, answer_after=MARKER, kind="ground_truth", scorer="llama-3-8b")
    StatsImport(asked).run(Store.create(folder / "store"))
    text = f"""
store: store
model: {{path: {model}}}
train:
  output: out
  steps: 1
  batch_size: 2
  replay: null
  held_out: null
  objectives: [{json.dumps({"objective": "stm", **mask})}]
"""
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def check_a_step(folder: Path, model: Path, file: Path) -> None:
    from forgetless.cli.train import train

    path = recipe(folder, model, file, threshold=2.5, scorer="llama-3-8b")
    shown = CliRunner().invoke(train, [str(path), "--json"], catch_exceptions=False)
    plan = json.loads(shown.stdout)["plan"]
    # The end of a turn is in no play: a model that does not learn to stop is useless.
    counted = np.concatenate([values[:-1] for values in target_perplexities(file)])
    assert plan["masked_tokens"] == (counted > 2.5).sum()
    assert plan["masked_share"] == pytest.approx((counted > 2.5).mean())
    assert plan["steps"] == 1
    assert [w for w in plan["warnings"] if "imported without a tokenizer" in w]
    assert (folder / "out" / "model.safetensors").is_file()


def test_the_stm_authors_mask_trains_a_step(tmp_path: Path, llama: Path, shared: Path) -> None:
    check_a_step(tmp_path, llama, shared / STM)


def test_a_mask_of_the_same_form_trains_a_step(tmp_path: Path, llama: Path, made: Path) -> None:
    check_a_step(tmp_path, llama, made)


def test_a_scorer_by_its_fingerprint(tmp_path: Path, llama: Path, made: Path) -> None:
    path = recipe(tmp_path, llama, made, share=0.2)
    scorer = Store.open(tmp_path / "store").query("SELECT scorer FROM token_stats")["scorer"][0].as_py()
    plan = prepare(
        load_recipe(path, (f"train.objectives=[{{objective: stm, share: 0.2, scorer: {scorer[:8]}}}]",))
    ).plan
    assert plan.masked_share == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (None, r"needs the base model's scores.*forgetless score"),
        ("no such'", r"no scorer of these records is called.*\"no such'\".* of llama-3-8b"),
    ],
)
def test_a_scorer_that_is_not_there(
    tmp_path: Path, llama: Path, made: Path, scorer: str | None, message: str
) -> None:
    path = recipe(tmp_path, llama, made, threshold=2.5, scorer=scorer)
    with pytest.raises(UsageError, match=message):
        prepare(load_recipe(path))


def test_a_name_that_two_scorers_begin_with(tmp_path: Path, llama: Path, made: Path) -> None:
    path = recipe(tmp_path, llama, made, threshold=2.5, scorer="llama-3-8b")
    asked = ForeignStats(
        path=made, answer_after=MARKER, kind="ground_truth", scorer="llama-3-8b", dtype="bf16"
    )
    StatsImport(asked).run(Store.open(tmp_path / "store"))
    with pytest.raises(UsageError, match="2 scorers of these records are called"):
        prepare(load_recipe(path))


def test_ids_beyond_the_models_vocabulary_are_refused(tmp_path: Path, made: Path) -> None:
    small = random_llama(tmp_path / "small", 100)
    path = recipe(tmp_path, small, made, threshold=2.5, scorer="llama-3-8b")
    with pytest.raises(
        UsageError, match="12 records of an unknown tokenizer have ids beyond the model's 100"
    ):
        prepare(load_recipe(path))
