"""One record on the terminal and as JSON."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from stored import IDS

from forgetless.curator.report.diff import draw_diff
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


EDIT = {
    "own": "the sum\nis 13", "own_logprob": -0.25, "distance": 2,
    "diff": [["equal", "the sum", "the sum"], ["replace", "\nis 13", " is 12"], ["insert", "", "!"]],
}  # fmt: skip


def edited(folder: Path, **edit: object) -> str:
    """Id of a row that an editor changed, added to the store."""
    verdicts = (
        "[{verifier: 'numeric', passed: true, score: 1.0, reason: ''}, "
        "{verifier: 'logprob_drop', passed: true, score: 0.5, reason: '+0.50 nats per token below the own answer'}]"
    )
    metadata = json.dumps({"edit": EDIT | edit}).replace("'", "''")
    store = Store.open(folder)
    changed = store.query(
        f"SELECT * REPLACE ('ee01' AS id, '{metadata}' AS metadata, 'minimum_change' AS fallback, "
        f"'{IDS['story']}' AS previous_id, {verdicts} AS verdicts) FROM outcomes WHERE id = '{IDS['chat']}'"
    )
    store.append("outcomes", changed)
    return "ee01"


def test_an_edit_is_drawn_as_words_taken_out_and_put_in(cli: Cli, folder: Path) -> None:
    shown = cli("show", folder, edited(folder)).stdout
    assert "the sum[-⏎\nis 13-]{+ is 12+}{+!+}\n" in shown
    assert "2 tokens changed, [-taken out-] {+put in+}" in shown
    assert "mean log-prob of a token under the base model: own -0.250, edited -0.750" in shown
    assert re.search(r"fallback +minimum_change: an own answer, corrected, since none was right", shown)
    assert re.search(rf"previous +{IDS['story']}", shown)
    assert re.search(
        r"verdicts +numeric passed \(1\) *\n +logprob_drop passed \(0.5\): \+0.50 nats per token", shown
    )
    assert "\x1b" not in shown


def test_an_edit_that_changed_nothing_says_so(cli: Cli, folder: Path) -> None:
    row = edited(folder, distance=0, diff=[["equal", "12", "12"]], own_logprob=None)
    assert "the editor changed nothing, [-taken out-] {+put in+}\n" in cli("show", folder, row).stdout


def test_taken_out_is_red_and_put_in_green_and_nothing_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = draw_diff([["delete", "a\x1b[2J", ""], ["equal", " b", " b"], ["insert", "", "c"]])
    Console(force_terminal=True, color_system="standard", no_color=False).print(drawn)
    assert capsys.readouterr().out == "\x1b[31m[-a␛[2J-]\x1b[0m b\x1b[32m{+c+}\x1b[0m\n"


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
