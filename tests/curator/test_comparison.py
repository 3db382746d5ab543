"""Versions of an answer side by side, against figures computed here from the store's rows."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given import versions_recipe

from forgetless.curator.report.answers import KINDS
from forgetless.curator.report.bars import Bar, Panel, draw, picture_path
from forgetless.curator.report.comparison import Comparison, Difference, Figures, Line, compare
from forgetless.curator.report.order import figure, interval_text, order
from forgetless.curator.report.picture import draw_comparison
from forgetless.curator.report.resampling import Interval, interval, paired_differences
from forgetless.curator.store import Store
from forgetless.pipelines.build import Build
from forgetless.schemas.errors import UsageError

KNOWN, UNKNOWN = 10, 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Store:
    """All versions of 16 answers, scored."""
    folder = tmp_path_factory.mktemp("versions")
    Build(versions_recipe(folder, demo_model, KNOWN, UNKNOWN)).run()
    return Store.open(folder / "store")


@pytest.fixture
def part(store: Store, tmp_path: Path) -> Any:
    """`part("ordinal < 3", scored="false")`: a store with some rows of that one, and some of their scores."""

    def made(where: str = "true", scored: str = "true", **replaced: str) -> Store:
        new = Store.create(tmp_path / "part")
        changed = (
            f"* REPLACE ({', '.join(f'{sql} AS {name}' for name, sql in replaced.items())})"
            if replaced
            else "*"
        )
        new.append("outcomes", store.query(f"SELECT {changed} FROM outcomes WHERE {where}"))
        kept = f"id IN (SELECT id FROM outcomes WHERE ({where}) AND ({scored}))"
        new.append("token_stats", store.query(f"SELECT * FROM token_stats WHERE {kept}"))
        return new

    return made


def rows(store: Store) -> list[dict[str, Any]]:
    """Records with their scores, and what is compared of them."""
    found = store.query(
        "SELECT * FROM records JOIN token_stats USING (id) WHERE fallback IS NULL"
    ).to_pylist()
    for row in found:
        span = row["target_spans"][-1]
        row["ids"] = row["token_ids"][span["start"] : span["end"]]
        row["logprobs"] = row["logprob"][span["start"] : span["end"]]
        row["prompt"] = row["parent_id"] or row["id"]
    return found


def levenshtein(a: Sequence[int], b: Sequence[int]) -> int:
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            now.append(min(last[j] + 1, now[-1] + 1, last[j - 1] + (x != y)))
        last = now
    return last[-1]


def expected(rows: Iterable[dict[str, Any]], truths: dict[str, list[int]]) -> dict[str, float]:
    """Figures as the table defines them; the answers to one prompt count as one in the perplexity."""
    rows = list(rows)
    prompts: dict[str, list[float]] = {}
    for row in rows:
        prompts.setdefault(row["prompt"], []).append(-float(np.mean(row["logprobs"])))
    tokens = np.concatenate([row["logprobs"] for row in rows])
    distances = [levenshtein(row["ids"], truths[row["prompt"]]) for row in rows]
    longest = [max(len(row["ids"]), len(truths[row["prompt"]])) for row in rows]
    return {
        "prompts": len(prompts),
        "perplexity": math.exp(np.mean([np.mean(each) for each in prompts.values()])),
        "hard_share": float((np.exp(-tokens) > 2.5).mean()),
        "tokens": float(np.mean([len(row["ids"]) for row in rows])),
        "characters": float(np.mean([len(row["messages"][-1]["content"]) for row in rows])),
        "edit_distance": float(np.mean(distances)),
        "edit_share": float(np.mean(np.divide(distances, longest))),
    }


def same(found: Figures, wanted: dict[str, float]) -> None:
    values = found.model_dump()
    values["perplexity"] = values["perplexity"]["mean"]
    for name, value in wanted.items():
        if values[name] is not None:
            assert values[name] == pytest.approx(value, rel=1e-5), name


def test_one_line_per_kind_and_per_set_of_it(store: Store) -> None:
    assert [line.label for line in compare(store).lines] == [
        "ground truth", "teacher", "paraphrase", "minimum change", "self-output (best)", "self-output (two)",
    ]  # fmt: skip


def test_figures_are_those_of_the_rows(store: Store) -> None:
    comparison, found = compare(store), rows(store)
    truths = {row["id"]: row["ids"] for row in found if row["kind"] == "ground_truth"}
    equal = set.intersection(
        *({row["prompt"] for row in found if row["step"] == line.step} for line in comparison.lines)
    )
    assert comparison.prompts == len(equal) > 0
    for line in comparison.lines:
        own = [row for row in found if row["step"] == line.step]
        assert line.equal and line.all
        same(line.all, expected(own, truths))
        same(line.equal, expected([row for row in own if row["prompt"] in equal], truths))
        assert (line.all.edit_distance is None) == (line.kind == "ground_truth")


def test_counts_and_shares_leave_what_stands_in_apart(store: Store) -> None:
    lines = {line.step: line for line in compare(store).lines}
    for name, line in lines.items():
        ended = store.query(
            f"SELECT * FROM outcomes WHERE step = '{name}' AND status <> 'intermediate'"
        ).to_pylist()
        own = [row for row in ended if row["status"] == "accepted" and not row["fallback"]]
        assert line.prompts == KNOWN + UNKNOWN
        assert line.own == len(own)
        assert line.fallbacks == sum(bool(row["fallback"]) for row in ended)
        assert line.answered == len({row["parent_id"] or row["id"] for row in own})
        assert line.accepted_share == line.answered / line.prompts
    assert lines["human"].accepted_share == 1
    assert lines["two"].fallbacks > 0
    assert lines["two"].own > lines["two"].answered


def test_a_step_made_twice_is_told_by_its_digest(part: Any) -> None:
    twice = part(step="CASE WHEN kind = 'self_output' THEN 'own' ELSE step END")
    labels = [line.label for line in compare(twice).lines if line.kind == "self_output"]
    assert all(re.fullmatch(r"self-output \(own, [0-9a-f]{8}\)", label) for label in labels)
    assert len(set(labels)) == 2


def test_prompts_that_no_two_lines_share_make_no_order(part: Any) -> None:
    apart = part(
        "kind = 'ground_truth' OR kind = 'teacher' AND ordinal % 2 = 0 OR step = 'best' AND ordinal % 2 = 1"
    )
    comparison = compare(apart)
    assert (comparison.prompts, comparison.differences) == (0, [])
    assert all(line.equal is None and line.all and line.all.perplexity for line in comparison.lines)
    assert order(comparison) == [
        "No prompt has an own, scored answer in every line: the figures are over different prompts, "
        "and no order follows from them."
    ]


def test_without_scores_there_are_lengths_and_distances(part: Any, tmp_path: Path) -> None:
    comparison = compare(part(scored="false"))
    assert (comparison.scorer, comparison.prompts) == (None, 0)
    for line in comparison.lines:
        assert line.unscored == line.own
        assert line.all and line.all.perplexity is None and line.all.hard_share is None
        assert line.all.tokens > 1
    assert order(comparison) == []
    assert draw_comparison(comparison, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_a_line_without_scores_keeps_no_other_from_being_compared(part: Any) -> None:
    comparison = compare(part(scored="kind <> 'teacher'"))
    teacher = next(line for line in comparison.lines if line.kind == "teacher")
    assert teacher.unscored == teacher.own > 0
    assert teacher.equal is None
    assert comparison.prompts > 0


def test_several_tasks_want_one_named(part: Any) -> None:
    both = part(task="CASE WHEN ordinal < 5 THEN 'few' ELSE 'many' END")
    with pytest.raises(UsageError, match="several tasks: 'few', 'many' → name one with --task"):
        compare(both)
    with pytest.raises(UsageError, match="there is no task 'sums' → one of 'few', 'many'"):
        compare(both, "sums")
    assert compare(both, "few").lines[0].prompts == 5


def test_the_scorer_is_the_one_who_scored_most_unless_named(part: Any) -> None:
    store = part()
    other = store.query("SELECT * REPLACE ('other' AS scorer) FROM token_stats LIMIT 3")
    store.append("token_stats", other)
    comparison = compare(store)
    assert comparison.other_scorers == ["other"]
    assert compare(store, scorer="oth").scorer == "other"
    with pytest.raises(UsageError, match=f"begins with 'x' → its scorers: {comparison.scorer}, other"):
        compare(store, scorer="x")


def test_samples_are_all_there_with_what_was_said_of_them(store: Store) -> None:
    drawn = {row["id"]: row for row in store.query("SELECT * FROM samples").to_pylist()}
    stored = store.query(
        "SELECT * FROM outcomes WHERE stage = 'sample' AND status = 'intermediate'"
    ).to_pylist()
    accepted = store.query(
        "SELECT * FROM records WHERE kind = 'self_output' AND fallback IS NULL"
    ).to_pylist()
    chosen = {row["previous_id"] for row in accepted}
    assert drawn.keys() == {row["id"] for row in stored}
    assert len(drawn) == (KNOWN + UNKNOWN) * (3 + 6)
    for row in stored:
        sample = drawn[row["id"]]
        span = row["target_spans"][0]
        mean = np.mean(row["sampled_logprobs"][span["start"] : span["end"]])
        assert sample["perplexity"] == pytest.approx(math.exp(-mean), rel=1e-6)
        assert sample["sample"] == json.loads(row["metadata"])["sample"]
        assert sample["right"] == (row["rejection"] is None)
        assert sample["reason"] == (row["rejection"] or {}).get("reason")
        assert sample["verdicts"] == row["verdicts"]
        assert sample["chosen"] == (row["id"] in chosen)
        assert sample["text"] == row["messages"][-1]["content"]
    assert sum(row["chosen"] for row in drawn.values()) == len(accepted)
    wrong = store.query('SELECT count(*) AS n FROM samples WHERE NOT "right" AND reason IS NOT NULL')
    assert wrong["n"].to_pylist() == [sum(row["rejection"] is not None for row in stored)] != [0]


def test_a_judges_word_is_the_samples(part: Any) -> None:
    store = part("step = 'best' AND stage = 'sample'", rejection="NULL", verdicts="[]")
    judged = (
        "SELECT * REPLACE ('judge' || id AS id, id AS previous_id, 'judge' AS stage, "
        "[{verifier: 'judge', passed: ordinal % 2 = 0, score: 0.0, reason: 'it says'}] AS verdicts, "
        "CASE WHEN ordinal % 2 = 1 THEN {step: 'judge', reason: 'no', score: 0.0, threshold: 1.0} END AS rejection)"
    )
    judges = store.query(f"{judged} FROM outcomes")
    store.append("outcomes", judges)
    store.append("outcomes", store.query("""
        SELECT * REPLACE (plan_id AS id, id AS previous_id, 'choose' AS stage, 'accepted' AS status)
        FROM outcomes WHERE stage = 'judge' AND ordinal = 2 LIMIT 1"""))  # fmt: skip
    found = store.query("SELECT * FROM samples").to_pylist()
    assert len(found) == len(judges)
    assert {row["right"] for row in found} == {True, False}
    assert {(row["right"], row["filter"], row["reason"]) for row in found} == {
        (True, None, None),
        (False, "judge", "no"),
    }
    assert all(row["verdicts"][0]["verifier"] == "judge" for row in found)
    assert sum(row["chosen"] for row in found) == 1


def test_samples_without_own_logprobs_have_the_scorers(part: Any) -> None:
    store = part("stage = 'sample'", sampled_logprobs="NULL::FLOAT[]")
    first = store.query("SELECT id, step FROM samples ORDER BY id LIMIT 1").to_pylist()[0]
    assert store.query("SELECT count(perplexity) AS n FROM samples")["n"].to_pylist() == [0]
    store.append(
        "token_stats", [{"id": first["id"], "scorer": "s", "perplexity": 1.5, "created": datetime.now(UTC)}]
    )
    assert store.query("SELECT id, perplexity AS p FROM samples WHERE p > 0").to_pylist() == [
        {"id": first["id"], "p": 1.5}
    ]


def test_one_join_has_every_version_of_an_answer(store: Store) -> None:
    pairs = store.query("SELECT * FROM pairs WHERE kind = 'teacher' OR step = 'best'").to_pylist()
    assert pairs
    for pair in pairs:
        assert pair["ground_truth"].startswith("Hmm, that would be")
        assert pair["answer"] in pair["ground_truth"]
        assert pair["prompt"].endswith(("?", "."))


def line(kind: str, perplexity: float, label: str = "") -> Line:
    figures = Figures(
        prompts=9, perplexity=Interval(mean=perplexity, low=perplexity * 0.9, high=perplexity * 1.1),
        hard_share=0.1, tokens=9, characters=30, edit_distance=None, edit_share=None,
    )  # fmt: skip
    return Line(
        label=label or KINDS[kind], kind=kind, step=kind, digests=["d"], prompts=9, answered=9, own=9, fallbacks=0,
        unscored=0, equal=figures, all=figures,
    )  # fmt: skip


def comparison(lines: Sequence[Line], alike: Sequence[set[str]] = ()) -> Comparison:
    """Of lines that are all told apart but for those in `alike`."""
    differences = [
        Difference(
            first=a.label, second=b.label,
            nats=Interval(mean=0.1, low=-0.1 if {a.label, b.label} in alike else 0.05, high=0.2),
        )
        for i, a in enumerate(lines) for b in lines[i + 1 :]
    ]  # fmt: skip
    return Comparison(
        task="t", scorer="s", other_scorers=[], prompts=9, lines=list(lines), differences=differences
    )


def test_the_lectures_order_is_said_to_come_out() -> None:
    said = order(comparison([line("ground_truth", 4), line("teacher", 3), line("self_output", 2)]))
    assert said == [
        "Mean perplexity over 9 equal prompts, highest first: ground truth 4.00 (3.60\N{EN DASH}4.40) > "
        "teacher 3.00 (2.70\N{EN DASH}3.30) > self-output 2.00 (1.80\N{EN DASH}2.20).",
        "Every two are told apart: no 95 % interval of a paired difference holds zero.",
        "This is the lecture's order (human answers highest, the model's own words lowest).",
    ]


def test_the_lectures_order_is_said_not_to_come_out() -> None:
    lines = [line("ground_truth", 4), line("teacher", 5), line("minimum_change", 1.5), line("self_output", 2)]
    chain, untold, said = order(comparison(lines, [{"minimum change", "self-output"}]))
    assert [chain.index(each.label) for each in (lines[1], lines[0], lines[3], lines[2])] == sorted(
        chain.index(each.label) for each in lines
    )
    assert "(1.80\N{EN DASH}2.20) ≈ minimum change" in chain
    assert untold.endswith("holds zero): self-output / minimum change.")
    assert said == (
        "This is not the lecture's order (human answers highest, the model's own words lowest): teacher lies above "
        "ground truth, self-output lies above minimum change (not told apart)."
    )


def test_an_order_that_is_not_told_apart_is_not_claimed() -> None:
    lines = [line("ground_truth", 4), line("teacher", 3), line("paraphrase", 2.9), line("self_output", 2.8)]
    alike = [{"teacher", "paraphrase"}, {"teacher", "self-output"}, {"paraphrase", "self-output"}]
    said = order(comparison(lines, alike))
    assert said[1].endswith(": teacher / paraphrase / self-output.")
    assert said[2].endswith("own words lowest), as far as they are told apart.")
    assert order(comparison(lines[:3]))[2].endswith("cannot be said: no self-output is scored.")
    assert order(comparison(lines[:1])) == []


def test_two_sets_of_one_kind_are_not_held_against_each_other() -> None:
    lines = [
        line("ground_truth", 4),
        line("self_output", 2, "self-output (a)"),
        line("self_output", 3, "self-output (b)"),
    ]
    assert order(comparison(lines))[2].startswith("This is the lecture's order")


def test_intervals_hold_the_mean_and_shrink_with_the_prompts() -> None:
    values = np.random.default_rng(1).normal(2, 1, 400)
    few, many = interval(values[:25]), interval(values)
    assert few.low < few.mean < few.high
    assert many.mean == pytest.approx(values.mean())
    assert many.high - many.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert many.high - many.low < few.high - few.low
    assert interval(values) == many


def test_paired_differences_cancel_what_is_hard_for_both() -> None:
    hard = np.random.default_rng(1).normal(2, 1, 50)
    found = paired_differences({"a": hard + 0.1, "b": hard, "c": hard[::-1]})
    assert found["a", "b"].low == pytest.approx(0.1)
    assert found["b", "c"].low < 0 < found["b", "c"].high


def test_figures_have_digits_that_fit_their_size() -> None:
    assert [figure(value) for value in (1.0004, 1.5, 45.67, 12345.6)] == ["1.000", "1.50", "45.7", "12,346"]
    assert interval_text(Interval(mean=1.049, low=1.01, high=1.128)) == "1.049 (1.010\N{EN DASH}1.128)"


def test_the_picture_has_every_line_and_figure(store: Store, tmp_path: Path) -> None:
    comparison = compare(store)
    svg, png = tmp_path / "bars.svg", tmp_path / "bars.png"
    assert draw_comparison(comparison, svg) == svg
    assert draw_comparison(comparison, png) == png
    text = svg.read_text()
    for each in comparison.lines:
        assert each.equal and each.equal.perplexity
        assert f">{each.label}<" in text
        assert f">{figure(each.equal.perplexity.mean)}<" in text
    assert "(log axis)" in text
    assert png.read_bytes().startswith(b"\x89PNG")
    again = svg.read_bytes()
    draw_comparison(comparison, svg)
    assert svg.read_bytes() == again


def test_bars_draw_any_text_and_missing_values(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    panel = Panel("$x_1$ 度", [Bar(3.0, "3", 2.0, 5.0), Bar(None, "none")], least=1.0)
    draw(tmp_path / "a.svg", "a & b", ["$y^$", "z"], ["#000000", "#D55E00"], [panel])
    text = (tmp_path / "a.svg").read_text()
    assert "$x_1$ 度" in text and "$y^$" in text and "(log axis)" not in text
    assert capfd.readouterr().err == ""


def test_pictures_go_where_pictures_can(tmp_path: Path) -> None:
    assert picture_path(tmp_path / "a.SVG") == tmp_path / "a.SVG"
    for name, message in {
        "a.gif": "no name of a picture → let it end in .png",
        "no/a.png": "there is no folder",
    }.items():
        with pytest.raises(UsageError, match=message):
            picture_path(tmp_path / name)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        picture_path(tmp_path / "b.png")
