"""`forgetless template` on files, folders and what is neither."""

import json
from pathlib import Path

import pytest
import trl
from click.testing import CliRunner
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from forgetless.cli.template import template
from forgetless.schemas.errors import BAD_USAGE, ForgetlessError, RecipeError, TemplateError

TRL = Path(trl.__file__).parent / "chat_templates"
SHARED = Path(__file__).parents[2].parent / "shared"
PROMISED = {"pre_query", "pre_query_with_system", "generation_prompt", "stop_tokens", "bos", "warnings"}


def run(*arguments: str | Path) -> tuple[str, ForgetlessError | None]:
    """Standard output, and the error that the command line would turn into one line."""
    result = CliRunner().invoke(template, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, ForgetlessError), result.exception
    return result.stdout, result.exception


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """GPT-2's arrangement: nothing but a tokenizer.json, with one special token and no template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: n for n, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    core.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_jinja_file_alone() -> None:
    out, failure = run(TRL / "qwen2_5.jinja", "--json")
    report = json.loads(out)
    assert failure is None and report.keys() >= PROMISED
    assert report["pre_query"].endswith("You are a helpful assistant.<|im_end|>\n<|im_start|>user\n")
    assert report["pre_query_with_system"] == (
        "<|im_start|>system\n{system text}<|im_end|>\n<|im_start|>user\n"
    )
    assert report["generation_prompt"] == "<|im_start|>assistant\n"
    assert report["stop_tokens"] == ["<|im_end|>"]
    assert report["bos"] is None
    assert "pre_query_ids" not in report and any("no tokenizer" in warning for warning in report["warnings"])


def test_jinja_file_with_bos() -> None:
    report = json.loads(run(TRL / "llama3.jinja", "--json")[0])
    assert report["bos"] == "{bos_token}" and report["pre_query"].startswith(
        "{bos_token}<|start_header_id|>user"
    )
    report = json.loads(run(TRL / "llama3.jinja", "--json", "--start-token", "<|begin_of_text|>")[0])
    assert report["pre_query"] == "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    assert report["bos"] == "<|begin_of_text|>"


def test_folder_gives_ids(bare: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(bare / "tokenizer.json"), eos_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (TRL / "qwen3_instruct_2507.jinja").read_text()
    tokenizer.save_pretrained(bare)
    report = json.loads(run(bare, "--json")[0])
    assert report.keys() >= PROMISED
    assert tokenizer.decode(report["pre_query_ids"]) == report["pre_query"] == "<|im_start|>user\n"
    assert report["stop_tokens"] == ["<|im_end|>", "<|endoftext|>"]
    started = json.loads(run(bare, "--json", "--start-token", "<|endoftext|>")[0])
    assert started["pre_query_ids"] == [tokenizer.eos_token_id, *report["pre_query_ids"]]
    assert started["bos"] == "<|endoftext|>"
    _, failure = run(bare, "--start-token", "<nope>")
    assert isinstance(failure, RecipeError)


def test_table_shows_newlines() -> None:
    out, _ = run(TRL / "gemma.jinja")
    assert "user⏎" in out and "pre query" in out
    assert "a system text is refused" in out


def test_folder_without_template_tells_what_there_is(bare: Path) -> None:
    out, failure = run(bare, "--json")
    report = json.loads(out)
    assert report.keys() >= PROMISED
    assert report["special_tokens"] == ["<|endoftext|>"] and report["pre_query"] is None
    assert isinstance(failure, TemplateError) and failure.exit_code == BAD_USAGE
    assert "no chat template" in failure.message and "model.chat_template" in failure.hint


def test_gpt2_folder() -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared is absent")
    out, failure = run(SHARED / "data" / "gpt2_tokenizer")
    assert "<|endoftext|>" in out and isinstance(failure, TemplateError)


def test_neither_folder_nor_template(tmp_path: Path) -> None:
    _, failure = run(tmp_path / "nothing")
    assert failure is not None and failure.exit_code == BAD_USAGE and "does not exist" in failure.message
    (tmp_path / "bad.jinja").write_text("{% for m in messages %}")
    _, failure = run(tmp_path / "bad.jinja")
    assert isinstance(failure, TemplateError)
    (tmp_path / "weights.bin").write_bytes(b"\xff\xfe\x80")
    _, failure = run(tmp_path / "weights.bin")
    assert failure is not None and failure.exit_code == BAD_USAGE
