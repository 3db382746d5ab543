"""`forgetless bench` at a tiny size: both sides do the same, and what is said has its form."""

import json
import subprocess
from collections.abc import Callable

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_both_sides_run_the_same_requests(cli: Cli) -> None:
    size = ["--records", "24", "--max-tokens", "12", "--rounds", "1", "--in-flight", "16"]
    done = cli("bench", "generate", "--model", "demo", *size, "--enforce-eager", "--json")
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    assert (compared["model"], compared["records"], compared["max_tokens"]) == ("demo", 24, 12)
    (pair,) = compared["rounds"]
    raw, build = pair["raw"], pair["build"]
    assert raw["asked"] == build["asked"]
    assert raw["requests"] == build["requests"] == 24
    for side in (raw, build):
        assert 24 <= side["tokens"] <= 24 * 12
        assert side["tokens_per_second"] == side["tokens"] / side["seconds"]
    assert compared["ratio"] == pair["ratio"] == build["tokens_per_second"] / raw["tokens_per_second"]
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("build ")


def test_a_model_that_is_not_there(cli: Cli) -> None:
    done = cli("bench", "generate", "--model", "/nowhere", "--rounds", "1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "model folder '/nowhere' does not exist" in done.stderr


def test_dedup_says_what_was_found(cli: Cli) -> None:
    done = cli("bench", "dedup", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    (pair,) = compared["rounds"]
    assert compared["texts"] == 10_000 and compared["planted"] > 0
    assert compared["ratio"] == pair["ratio"] == pair["filter"] / pair["library"]
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("filter ")
    shown = cli("bench", "dedup", "--rounds", "1")
    assert f"{compared['found']:,}" in shown.stdout and "times the library's" in shown.stdout


def test_scoring_costs_less_than_the_plain_loop(cli: Cli) -> None:
    """In seconds of the processor, which other tests beside this one do not change much."""
    done = cli("bench", "score", "--records", "12", "--rounds", "1", "--peer", "transformers", "--json")
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    (turn,) = compared["rounds"]
    ours, plain = (turn["sides"][side] for side in ("ours", "transformers"))
    ratio = compared["peers"]["transformers"]["ratio"]
    assert ratio == ours["tokens_per_second"] / plain["tokens_per_second"]
    assert plain["cpu_seconds"] > 1.1 * ours["cpu_seconds"]
    assert compared["extra_bytes"] < 2**30
    assert done.stderr.startswith("ours ")
    wrong = cli("bench", "score", "--peer", "nobody")
    assert wrong.returncode == 2


def test_a_training_step_beside_trl_and_with_a_kl(cli: Cli) -> None:
    """In seconds of the processor, which other tests beside this one do not change much."""
    done = cli("bench", "train", "--steps", "2", "--batch-size", "2", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    (only,) = compared["rounds"]
    sides = only["sides"]
    assert list(sides) == ["ours", "trl", "kl", "live-kl"]
    assert abs(sides["ours"]["first_loss"] - sides["trl"]["first_loss"]) < 0.02  # other rows of the same kind
    assert sides["trl"]["cpu_seconds"] > 1.5 * sides["ours"]["cpu_seconds"]
    assert sides["live-kl"]["cpu_seconds"] > 1.25 * sides["kl"]["cpu_seconds"]
    assert sides["ours"]["peak_bytes"] <= sides["trl"]["peak_bytes"]
