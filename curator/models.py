"""Model folders: finding, checking, fingerprinting and loading them. Safetensors only."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from forgetless.schemas.base import digest
from forgetless.schemas.errors import ModelError, RecipeError
from forgetless.schemas.model import Model


def resolve_model(model: Model) -> Path:
    """The local folder of `model`, downloaded from the hub if it is a hub id, its weights checked.

    Raises:
        RecipeError: neither a folder nor an id that the hub can give.
        ModelError: a configuration that is damaged, weights that are missing or cut short.
    """
    folder = Path(model.path)
    if not folder.is_dir():
        if folder.is_absolute() or not 1 <= model.path.count("/") + 1 <= 2:
            raise RecipeError(f"model folder {model.path!r} does not exist", "correct `model.path`")
        folder = _download(model)
    check_config(folder)
    check_weights(folder)
    return folder


def _download(model: Model) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                model.path,
                revision=model.revision,
                allow_patterns=[
                    "*.json",
                    "*.safetensors",
                    "*.jinja",
                    "*.model",
                    *(["*.py"] if model.trust_remote_code else []),
                ],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecipeError(
            f"model {model.path!r} is neither a folder nor to be had from the hub ({reason})",
            "correct `model.path`, or download the model and name its folder",
        ) from None


def check_config(folder: Path) -> None:
    """RecipeError where `folder` is no model's, ModelError where its configuration is damaged."""
    file = folder / "config.json"
    try:
        json.loads(file.read_text())
    except OSError:
        raise RecipeError(
            f"{str(folder)!r} holds no config.json", "name the folder of a transformers model"
        ) from None
    except ValueError as error:
        raise ModelError(f"{str(file)!r} is no JSON: {error}", "download it again") from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; ModelError if there are none or some are missing."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = ", ".join(missing) or "model.safetensors"
        raise ModelError(
            f"{str(folder)!r} lacks {what}", "download the model again; only safetensors are read"
        )
    return files


def check_weights(folder: Path) -> None:
    """Compare every file's length with its own header: a truncated download is found before it costs time."""
    for file in weight_files(folder):
        size = file.stat().st_size
        try:
            with file.open("rb") as handle:
                length = int.from_bytes(handle.read(8), "little")
                header = json.loads(handle.read(length)) if 0 < length <= size - 8 else None
        except (json.JSONDecodeError, UnicodeDecodeError):
            header = None
        if header is None:
            raise ModelError(f"{str(file)!r} is truncated or no safetensors file", "download it again")
        end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
        if size != 8 + length + end:
            raise ModelError(
                f"{str(file)!r} is truncated: {size:,} bytes of {8 + length + end:,}", "download it again"
            )


def parameters(folder: Path) -> int:
    """Number of weights that a model folder holds, from the headers of its files; tied ones count once."""
    from safetensors import safe_open

    count = 0
    for file in weight_files(folder):
        with safe_open(file, "np") as weights:
            count += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return count


def model_fingerprint(folder: Path) -> str:
    """128-bit hex of config and weights by content; kept in the user's cache by path, size and time."""
    files = [folder / "config.json", *weight_files(folder)]
    key = digest(*([str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files))
    cached = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "forgetless" / "fingerprints" / key
    )
    if cached.is_file() and (text := cached.read_text()):
        return text
    content = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            content.update(hashlib.file_digest(handle, "blake2b").digest())
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_text(content.hexdigest())
    except OSError:  # a read-only home costs a hash per run, nothing else
        pass
    return content.hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """128-bit hex of the vocabulary: rows of equal fingerprint have comparable ids."""
    return digest(tokenizer.get_vocab())


def load_tokenizer(folder: Path, chat_template: Path | None = None, trust_remote_code: bool = False) -> Any:
    """The folder's tokenizer, with `chat_template` (a Jinja file) instead of its own if given."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if (folder / "config.json").is_file() or (folder / "tokenizer_config.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        else:  # a bare tokenizer.json names no class
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"no tokenizer can be loaded from {str(folder)!r}: {_first_line(error)}",
            "put the model's tokenizer files (tokenizer.json, tokenizer_config.json) into its folder",
        ) from None
    if chat_template:
        try:
            tokenizer.chat_template = chat_template.read_text()
        except OSError as error:
            raise RecipeError(
                f"chat template {str(chat_template)!r} cannot be read: {error.strerror}"
            ) from None
    return tokenizer


def load_model(
    folder: Path, dtype: str = "auto", trust_remote_code: bool = False, device: str | None = None
) -> Any:
    """The causal language model in `folder`, in eval mode, on `device`, the GPU if there is one."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    check_weights(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"model {str(folder)!r} cannot be loaded: {_first_line(error)}") from None
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


def stop_ids(folder: Path, tokenizer: Any) -> list[int]:
    """Ids that end a text: the generation config's end ids and the tokenizer's, in id order."""
    ids = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            end = json.loads((folder / name).read_text()).get("eos_token_id")
            ids |= set(end if isinstance(end, list) else [end])
    return sorted(i for i in ids if i is not None)


def _first_line(error: BaseException) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first.partition(" from one of:")[0]  # transformers goes on with a list of its classes
