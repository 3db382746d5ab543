"""Training in several processes, as `torchrun` and `accelerate launch` start them: who speaks, and how they part."""

import os


def is_main() -> bool:
    """Whether this is the process that measures, writes and prints; also where there is only one."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device() -> str:
    """Where this process computes; said by torch only after the trainer is made."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def leave() -> None:
    """Ends what the processes share. Without it the last one to exit is aborted now and then."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
