"""One record on the terminal and as JSON."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from stored import IDS

from forgetless.curator.report.heatmap import LEVELS, level_of, mark, summarise
from forgetless.curator.report.record import read_record
from forgetless.curator.report.terminal import draw
from forgetless.curator.store import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]


def tokens_of(stdout: str) -> str:
    """What stands between the rule `tokens` and the next."""
    return stdout.split("tokens ─")[1].split("\n", 1)[1].split("\n──")[0]


def test_hard_tokens_are_marked_without_colour(cli: Cli, folder: Path) -> None:
    done = cli("show", folder, IDS["chat"])
    assert tokens_of(done.stdout) == "<|bos|>reverse the word cat⟦t‹a·2.7›‹c·4.5›⟧"
    assert "14 tokens, 3 target, mean perplexity 2.72, hard 67%; scored by first" in done.stdout
    assert "\x1b" not in done.stdout


def test_line_breaks_spaces_and_split_characters_are_visible(cli: Cli, folder: Path) -> None:
    shown = tokens_of(cli("show", folder, "aa01", "--scorer", "first").stdout)
    assert "‹.·54.6›⏎\nThe" in shown
    assert " ‹fox·20.1›" in shown
    assert "‹<0xE2>·4.5›‹<0x98>·7.4›‹<0x83>·12.2›" in shown


def test_each_class_has_its_own_colour_and_prompts_are_dim(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = read_record(Store.open(folder), IDS["chat"])
    Console(force_terminal=True, color_system="truecolor", width=80, no_color=False).print(draw(view.marks))
    out = capsys.readouterr().out
    assert "\x1b[2m<|bos|>" in out
    assert "\x1b[38;2;255;255;255;48;2;102;105;112mt\x1b[0m" in out
    assert "\x1b[38;2;0;0;0;48;2;148;142;119m‹a·2.7›" in out


def test_the_newest_scorer_is_shown_unless_one_is_named(cli: Cli, folder: Path) -> None:
    assert "scored by second" in cli("show", folder, "aa01").stdout
    assert "scored by first" in cli("show", folder, "aa01", "--scorer", "fir").stdout
    done = cli("show", folder, "aa01", "--scorer", "third")
    assert done.returncode == 2
    assert done.stderr.endswith("has no scores by 'third' → its scorers: second, first\n")


def test_unscored_rows_fall_back_to_sampling_and_say_so(cli: Cli, folder: Path) -> None:
    sampled = cli("show", folder, IDS["unscored"]).stdout
    assert "not scored: these are the log-probs it was sampled with" in sampled
    assert "‹s·2.7›" in sampled
    imported = cli("show", folder, IDS["imported"]).stdout
    assert "no token has a log-prob" in imported
    assert "⟦eats⟧" in imported


def test_rejected_rows_show_why(cli: Cli, folder: Path) -> None:
    shown = cli("show", folder, IDS["rejected"]).stdout
    assert "repetition: 4-grams repeat (score 0.8, threshold 0.5)" in shown


def test_an_id_that_fits_several_rows_or_none(cli: Cli, folder: Path) -> None:
    several = cli("show", folder, "aa")
    assert several.returncode == 2
    assert f"'aa' begins several ids: {IDS['story']}, {IDS['chat']} → give more of the id" in several.stderr
    none = cli("show", folder, "zz")
    assert none.returncode == 2
    assert "no row has an id that begins with 'zz'" in none.stderr


def test_json_has_lists_of_equal_length(cli: Cli, folder: Path) -> None:
    shown = json.loads(cli("show", folder, IDS["chat"], "--json").stdout)
    size = len(shown["token_ids"])
    assert [len(shown[key]) for key in ("pieces", "is_target", "perplexity")] == [size] * 3
    assert shown["pieces"][-3:] == ["t", "a", "c"]
    assert shown["is_target"] == [False] * (size - 3) + [True] * 3
    assert shown["perplexity"][0] is None
    assert shown["perplexity"][-1] == pytest.approx(4.4817, abs=1e-4)
    assert len(shown["scores"]["logprob"]) == size
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]


def test_classes_cover_every_perplexity() -> None:
    assert [level_of(p).label for p in (1, 1.1, 1.11, 2.5, 2.51, 20, 1e9)] == [
        "≤ 1.1", "≤ 1.1", "≤ 1.5", "≤ 2.5", "≤ 6", "≤ 20", "> 20",
    ]  # fmt: skip
    assert level_of(float("inf")) is level_of(float("nan")) is LEVELS[-1]


def test_only_targets_with_a_logprob_count() -> None:
    marks = mark([1, 2, 3, 4], ["a", "b", "c", "d"], [False, True, True, True], [-9.0, None, 0.0, -2.0])
    figures = summarise(marks)
    assert (figures.tokens, figures.target_tokens, figures.hard_share) == (4, 3, 0.5)
    assert figures.perplexity == pytest.approx(2.7183, abs=1e-4)
    assert [m.is_hard for m in marks] == [False, False, False, True]


def test_an_infinite_perplexity_is_drawn_and_counted() -> None:
    marks = mark([1], ["a"], [True], [float("-inf")])
    assert draw(marks).plain == "⟦‹a·≫›⟧"
    assert summarise(marks).perplexity == float("inf")
