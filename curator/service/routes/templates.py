"""/v1/templates: what a chat template implies."""

import json
from typing import Any

from fastapi import APIRouter
from pydantic import Field, model_validator

from forgetless.curator.service.command import run_command
from forgetless.curator.service.confinement import inside
from forgetless.curator.service.problems import PROBLEMS, Problem
from forgetless.curator.service.scratch import scratch
from forgetless.curator.service.service import Given
from forgetless.schemas.base import Frozen

router = APIRouter(prefix="/v1/templates", tags=["templates"], responses=PROBLEMS)

SECONDS = 60


class Source(Frozen):
    """A folder with a tokenizer, or a template's text."""

    model: str | None = Field(None, max_length=1000)
    """Folder with a tokenizer, or a Jinja file."""
    template: str | None = Field(None, max_length=200_000)
    """Jinja"""
    start_token: str | None = Field(None, max_length=200)
    """What a text starts with where the tokenizer has no BOS."""

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.model is None) == (self.template is None):
            raise ValueError("give either `model` or `template`")
        return self


@router.post("")
async def read_template(source: Source, service: Given) -> dict[str, Any]:
    """Pre-query, stop tokens, system turn, BOS, warnings: as `forgetless template --json`.

    It is rendered in a process of its own, which is killed where the template does not end.
    """
    option = [f"--start-token={source.start_token}"] if source.start_token else []
    with scratch(service.settings.home) as folder:
        named = folder / "template.jinja"
        if source.model is not None:
            named = inside(source.model, service.settings)
        else:
            named.write_text(source.template or "")
        done = await run_command(["template", "--json", *option, "--", named], folder, SECONDS)
    if done.code:
        raise Problem(400, *done.error)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
