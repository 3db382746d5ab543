"""Recipes that come over the network: what they may name, and what they may not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from forgetless.curator.service.confinement import confined, inside, model_path
from forgetless.curator.service.settings import Settings
from forgetless.schemas.errors import RecipeError, UsageError
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.suite import Suite

HOSTED = "https://api.example.com/v1"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A root, a store, one server that may be asked; a secret beside them, and a link to it from within."""
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "secret")
    home = tmp_path / "home"
    home.mkdir()
    stores = {"kept": tmp_path / "kept"}
    return Settings(home=home, roots=(tmp_path / "root",), stores=stores, endpoints={HOSTED: "HOSTED_KEY"})


def recipe(**changed: Any) -> str:
    data = {"store": "store", "model": {"path": "model"}, "steps": [{"pipeline": "bos_replay", "count": 3}]}
    return yaml.safe_dump(data | changed)


def test_paths_are_taken_from_the_root(settings: Settings, tmp_path: Path) -> None:
    found = confined(Recipe, recipe(train={"output": "tuned"}), settings)
    assert found.store == tmp_path / "root" / "store"
    assert found.train is not None and found.train.output == tmp_path / "root" / "tuned"
    assert found.model.path == "model"  # nothing is there: a hub id
    (tmp_path / "root" / "model").mkdir()
    assert confined(Recipe, recipe(), settings).model.path == str(tmp_path / "root" / "model")


def test_a_served_store_and_a_base_may_be_named(settings: Settings, tmp_path: Path) -> None:
    assert confined(Recipe, recipe(store=str(tmp_path / "kept")), settings).store == tmp_path / "kept"
    (tmp_path / "root" / "deeper").mkdir()
    assert confined(Recipe, recipe(), settings, "deeper").store == tmp_path / "root" / "deeper" / "store"


OUTSIDE = ["/etc/passwd", "../secret", "link/x", "link", "~/x", "/", "a/../../secret", "../root2"]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize(
    "place",
    [
        lambda path: {"store": path},
        lambda path: {"model": {"path": path}},
        lambda path: {"model": {"path": "m", "chat_template": path}},
        lambda path: {"writers": {"w": {"model": {"path": path}}}},
        lambda path: {"steps": [{"pipeline": "import", "path": path}]},
        lambda path: {"steps": [{"pipeline": "magpie", "count": 1, "questions": {"path": path}}]},
        lambda path: {
            "steps": [
                {"pipeline": "import", "path": "x", "filters": {"contamination": {"files": [path]}}},
            ]
        },
        lambda path: {"train": {"output": path}},
        lambda path: {"train": {"output": "o", "tasks": [{"name": "t", "path": path}]}},
        lambda path: {"train": {"output": "o", "anchor": {"kind": "ewc", "strength": 1, "fisher": path}}},
    ],
)
def test_no_path_leads_outside(settings: Settings, path: str, place: Any) -> None:
    with pytest.raises(RecipeError) as refused:
        confined(Recipe, recipe(**place(path)), settings)
    assert path == "~/x" or "outside" in str(refused.value) or "unknown key" in str(refused.value), (
        refused.value
    )


def test_nor_does_a_base_or_an_override(settings: Settings) -> None:
    with pytest.raises(UsageError, match="outside"):
        confined(Recipe, recipe(), settings, "..")
    with pytest.raises(RecipeError, match="outside"):
        confined(Recipe, recipe(), settings, overrides=["store=/tmp/x"])
    with pytest.raises(UsageError, match="outside"):
        inside("link/x", settings)
    with pytest.raises(UsageError, match="outside"):
        model_path("/etc", settings)
    assert model_path("org/model", settings) == "org/model"


@pytest.mark.parametrize(
    "changed",
    [
        {"allow_code_execution": True},
        {"model": {"path": "m", "trust_remote_code": True}},
        {"writers": {"w": {"model": {"path": "m", "trust_remote_code": True}}}},
    ],
)
def test_no_code_can_be_allowed(settings: Settings, changed: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="cannot be allowed over the network"):
        confined(Recipe, recipe(**changed), settings)


@pytest.mark.parametrize(
    "engine",
    [
        {"kind": "openai", "model": "m", "base_url": "http://169.254.169.254/latest"},
        {"kind": "openai", "model": "m", "base_url": HOSTED, "api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {"kind": "openai", "model": "m"},
    ],
)
def test_only_servers_that_were_named_are_asked(settings: Settings, engine: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="must be a server that this service may ask"):
        confined(Recipe, recipe(writers={"w": {"engine": engine}}), settings)
    allowed = {"kind": "openai", "model": "m", "base_url": HOSTED, "api_key_env": "HOSTED_KEY"}
    assert confined(Recipe, recipe(writers={"w": {"engine": allowed}}), settings).writers["w"].model is None


BOMB = "a: &a [x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text", [BOMB, "[" * 5000, "store: [", "- a", "", "!!python/object/apply:os.system ['id']", "store: \x00"]
)
def test_what_is_no_recipe_is_told(settings: Settings, text: str) -> None:
    with pytest.raises(RecipeError):
        confined(Recipe, text, settings)


def test_suites_too(settings: Settings) -> None:
    suite = {"tasks": [{"name": "t", "path": "/etc/passwd", "role": "target"}]}
    with pytest.raises(RecipeError, match="outside"):
        confined(Suite, suite, settings)
