"""What torch and safetensors say when the disk or the memory is full, in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path

import torch
from safetensors import SafetensorError

from forgetless.schemas.errors import DiskFullError, ForgetlessError

# torch.save checks its position in the file instead of asking the system what went wrong.
_NO_SPACE = ("No space left", "inline_container", "os error 28")


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Around training that writes to `folder`.

    Raises:
        DiskFullError: a checkpoint did not fit; the one before it is whole.
        ForgetlessError: the batch did not fit into the device's memory.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise ForgetlessError(
            "the device's memory is too small for a batch",
            "halve `train.batch_size` and double `train.accumulation`: the updates stay the same",
        ) from None
    except (OSError, RuntimeError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (ENOSPC, EDQUOT)
        if full or any(sign in str(error) for sign in _NO_SPACE):
            raise DiskFullError(
                f"no space left on the disk of {str(folder)!r}; the last complete checkpoint is kept",
                "free some space and run the same command again",
            ) from None
        raise
