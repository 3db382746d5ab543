"""Recipes: YAML and overrides in, a recipe or one clear error out."""

from pathlib import Path

import pytest

from forgetless.curator.recipes import load_recipe
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.steps import BosReplay, Magpie

GOOD = """
store: data/store
model: {path: org/model}
steps:
  - {pipeline: bos_replay, name: bos, count: 300}
  - {pipeline: magpie, count: 5, answer: {max_tokens: 7}}
train: {output: out}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return path


def test_paths_are_relative_to_the_recipe(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    assert loaded.store == recipe.parent / "data/store"
    assert loaded.model.path == "org/model"  # no such folder here: a hub id
    (recipe.parent / "org/model").mkdir(parents=True)
    assert loaded.train and loaded.train.output == recipe.parent / "out"
    assert load_recipe(recipe).model.path == str(recipe.parent / "org/model")


def test_overrides_reach_into_lists_by_name_or_position(recipe: Path) -> None:
    loaded = load_recipe(
        recipe, ["steps.bos.count=600", "steps.1.seed=4", "engine.kind=transformers", "train=null"]
    )
    bos, magpie = loaded.steps
    assert isinstance(bos, BosReplay) and bos.count == 600
    assert isinstance(magpie, Magpie) and magpie.seed == 4
    assert loaded.engine.kind == "transformers" and loaded.train is None


def test_a_partial_group_keeps_the_other_defaults(recipe: Path) -> None:
    magpie = load_recipe(recipe).steps[1]
    assert isinstance(magpie, Magpie)
    assert (magpie.answer.temperature, magpie.answer.max_tokens) == (0, 7)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stpes=1", "unknown key 'stpes', did you mean 'steps'"),
        ("engine.knd=vllm", "unknown key 'engine.knd', did you mean 'kind'"),
        ("engine={kind: openai, model: m, base_ulr: 'http://h'}", "unknown key 'engine.base_ulr', did you mean 'base_url'"),
        ("engine={kind: openai}", "'engine.model' is missing"),
        ("engine={kind: vllm, model: m, base_url: 'http://h'}", "'engine.kind' is 'vllm': Input should be 'openai'"),
        ("writers={big: {engine: {kind: openai, model: m, in_fligt: 3}}}", "unknown key 'writers.big.engine.in_fligt', did you mean 'in_flight'"),
        ("writers={local: {model: {path: a}, engine: {dtyp: auto}}}", "unknown key 'writers.local.engine.dtyp', did you mean 'dtype'"),
        ("writers={big: {engin: {}}}", "unknown key 'writers.big.engin', did you mean 'engine'"),
        ("writers={big: {engine: {kind: openai, model: m, retries: -1}}}", "'writers.big.engine.retries' is -1"),
        ("writers={big: {}}", "'writers.big': needs `model`"),
        ("writers={model: {model: {path: a}}}", "recipe: a writer cannot be called 'model'"),
        ("steps=[{pipeline: self_output, verifier: exat}]", "'steps[0].verifier' is 'exat'"),
        ("steps.bos.sampling={temprature: 1}", "unknown key 'steps[0].sampling.temprature', did you mean 'temperature'"),
        ("steps.bos.count=-1", "'steps[0].count' is -1"),
        ("steps.bos.count=many", "'steps[0].count' is 'many'"),
        ("steps.bos.pipeline=bos_relay", "'steps[0]'"),
        ("steps.other.count=1", "no item 'other'"),
        ("steps.magpie.name=bos", "two steps are called 'bos'"),
        ("train.objectives=[{objective: stm}]", "either `threshold` or `share`"),
        ("model=null", "'model'"),
        ("name", "has no value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(recipe: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, [override])
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://me:s3cret@h/v1", "https://h/v1?key=s3cret", "s3cret"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(recipe: Path, url: str) -> None:
    with pytest.raises(RecipeError, match=r"'engine'.*`base_url`") as caught:
        load_recipe(recipe, [f"engine={{kind: openai, model: m, base_url: '{url}'}}"])
    assert "s3cret" not in str(caught.value)


def test_yaml_is_data(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("store: !!python/object/apply:os.system ['true']")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(path)


def test_every_field_says_what_it_is() -> None:
    def undescribed(schema: dict[str, object]) -> list[str]:
        missing = []
        for name, model in schema["$defs"].items():  # type: ignore[attr-defined]
            missing += [
                f"{name}.{f}"
                for f, s in model["properties"].items()
                if "description" not in s and f != "pipeline"
            ]
        return missing

    assert undescribed(Recipe.model_json_schema()) == []
