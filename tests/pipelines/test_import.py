"""Existing data becomes records; bad rows become rejects with file and line; the rest goes on."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from given import recipe_of

from forgetless.curator.models import load_tokenizer
from forgetless.curator.store import Store
from forgetless.pipelines.build import Build
from forgetless.schemas.errors import RecipeError

PAIR = {"prompt": "Name it.", "completion": "It."}


def rows_of(tmp_path: Path, model: Path, **step: Any) -> list[dict[str, Any]]:
    recipe = recipe_of(tmp_path / "store", model, [{"pipeline": "import", **step}])
    Build(recipe).run()
    return Store.open(recipe.store).query("SELECT * FROM outcomes ORDER BY ordinal").to_pylist()


@pytest.mark.parametrize(
    ("row", "step"),
    [
        (PAIR, {}),
        ({"question": "Name it.", "answer": "It."}, {}),
        ({"a": "Name it.", "b": "It."}, {"prompt": "a", "completion": "b"}),
        (
            {"messages": [{"role": "user", "content": "Name it."}, {"role": "assistant", "content": "It."}]},
            {},
        ),
    ],
)
def test_forms_of_a_conversation(
    tmp_path: Path, demo_model: Path, row: dict[str, Any], step: dict[str, Any]
) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(row))
    (made,) = rows_of(tmp_path, demo_model, path="d.jsonl", task="t", **step)
    tokenizer = load_tokenizer(demo_model)
    assert tokenizer.decode(made["token_ids"]) == "<|bos|><|user|>Name it.<|turn|><|assistant|>It.<|end|>"
    (span,) = made["target_spans"]
    assert tokenizer.decode(made["token_ids"][span["start"] : span["end"]]) == "It.<|end|>"
    assert (made["kind"], made["task"], made["ids_from"], made["status"]) == (
        "ground_truth",
        "t",
        "tokenizer",
        "accepted",
    )


def test_text_without_a_chat(tmp_path: Path, shared: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "Once upon a time <s> there was."}\n' + json.dumps(PAIR))
    text, pair = rows_of(tmp_path, shared / "stories260k", path="d.jsonl", kind="replay")
    assert text["token_ids"][0] == 1 and text["token_ids"].count(1) == 1 and text["token_ids"][-1] == 2
    assert text["target_spans"] == [{"start": 1, "end": len(text["token_ids"])}]
    assert pair["target_spans"][0]["start"] > 1


def test_bad_rows_are_rejects_and_the_rest_goes_on(tmp_path: Path, demo_model: Path) -> None:
    lines = [
        json.dumps(PAIR),
        "{oops",
        "[1]",
        '{"prompt": "x"}',
        '{"prompt": "x", "completion": ""}',
        json.dumps(PAIR),
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    rows = rows_of(tmp_path, demo_model, path="d.jsonl")
    assert [row["status"] for row in rows] == ["accepted", *["rejected"] * 4, "accepted"]
    reasons = [row["rejection"]["reason"] for row in rows[1:5]]
    for number, (reason, said) in enumerate(
        zip(reasons, ["not JSON", "not a JSON object", "columns", "empty"], strict=True)
    ):
        assert reason.startswith(f"d.jsonl:{number + 2}: ") and said in reason
    assert rows[1]["text"] == "{oops"
    assert len({row["id"] for row in rows}) == 6  # equal lines are two rows


def test_more_lines_add_rows(tmp_path: Path, demo_model: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps(PAIR))
    before = rows_of(tmp_path, demo_model, path="d.jsonl")
    data.write_text(json.dumps({"prompt": "new", "completion": "first"}) + "\n" + json.dumps(PAIR))
    after = rows_of(tmp_path, demo_model, path="d.jsonl")
    assert len(after) == 2 and before[0]["id"] in {row["id"] for row in after}


def test_a_corrected_line_is_read(tmp_path: Path, demo_model: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps(PAIR) + "\n{broken")
    assert [row["status"] for row in rows_of(tmp_path, demo_model, path="d.jsonl")] == [
        "accepted",
        "rejected",
    ]
    data.write_text(json.dumps(PAIR) + "\n" + json.dumps({"prompt": "Mended.", "completion": "Yes."}))
    statuses = [row["status"] for row in rows_of(tmp_path, demo_model, path="d.jsonl")]
    assert sorted(statuses) == ["accepted", "accepted", "rejected"]  # what was said of the old line stays


def test_half_a_character_is_a_bad_row(tmp_path: Path, demo_model: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "a\\ud83d"}\n' + json.dumps(PAIR))
    bad, good = rows_of(tmp_path, demo_model, path="d.jsonl")
    assert "half a character" in bad["rejection"]["reason"] and good["status"] == "accepted"


def test_csv_from_a_spreadsheet(tmp_path: Path, demo_model: Path) -> None:
    (tmp_path / "d.csv").write_text("\ufeffprompt,completion\nName it.," + "long " * 40_000 + "\n")
    (row,) = rows_of(tmp_path, demo_model, path="d.csv")
    assert row["status"] == "accepted"


def test_every_kind_of_file(tmp_path: Path, demo_model: Path) -> None:
    pairs = [PAIR, {"prompt": "Say 1,2.", "completion": "1,2\n3"}]
    (tmp_path / "d.json").write_text(json.dumps(pairs))
    (tmp_path / "d.csv").write_text('prompt,completion\nName it.,It.\n"Say 1,2.","1,2\n3"\n')
    pq.write_table(pa.Table.from_pylist(pairs), tmp_path / "d.parquet")
    datasets.Dataset.from_list(pairs).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.Table.from_pylist(pairs), tmp_path / "hub" / "train.parquet")
    steps = [
        {"pipeline": "import", "name": name, "path": name, "task": name}
        for name in ("d.json", "d.csv", "d.parquet", "saved", "hub")
    ]  # fmt: skip
    recipe = recipe_of(tmp_path / "store", demo_model, steps)
    Build(recipe).run()
    found = (
        Store.open(recipe.store)
        .query("SELECT step, list(text ORDER BY ordinal) AS texts FROM records GROUP BY step")
        .to_pylist()
    )
    assert len(found) == 5 and len({tuple(row["texts"]) for row in found}) == 1


def test_a_file_that_is_none(tmp_path: Path, demo_model: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "x.txt").write_text("x")
    for path, said in (
        ("none.jsonl", "does not exist"),
        ("empty.jsonl", "no rows"),
        ("x.txt", "unknown ending"),
    ):
        with pytest.raises(RecipeError, match=said):
            rows_of(tmp_path, demo_model, path=path)
    assert not (tmp_path / "store").exists()


def test_gsm8k(tmp_path: Path, demo_model: Path, shared: Path) -> None:
    rows = rows_of(tmp_path, demo_model, path=str(shared / "gsm8k" / "test_100.jsonl"))
    assert len(rows) == 100 and {row["status"] for row in rows} == {"accepted"}


def test_texts_that_are_refused_say_why_and_by_how_much(tmp_path: Path, demo_model: Path) -> None:
    letter = "Dear Mira, thank you for the red lamp. The weather here is sunny and we eat soup every day."
    exam = "Which of the seven bridges over the river was built last, and who paid for it in the end?"
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": exam}) + "\n")
    texts = [letter, letter.replace("sunny", "rainy"), f"Somebody asked: {exam}", "Another text, of its own."]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    filters = {"near_duplicate": 0.5, "contamination": {"files": ["exam.jsonl"], "max_share": 0.1}}
    rows = rows_of(tmp_path, demo_model, path="task.jsonl", filters=filters)
    assert [row["status"] for row in rows] == ["accepted", "rejected", "rejected", "accepted"]
    near, leaked = rows[1]["rejection"], rows[2]["rejection"]
    assert near["step"] == "near_duplicate" and near["score"] >= near["threshold"] == 0.5
    assert leaked["step"] == "contamination" and leaked["score"] > leaked["threshold"] == 0.1
    more = {"near_duplicate": 0.5, "near_duplicate_of": "store"}
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": letter.replace("soup", "rice")}) + "\n")
    again = rows_of(tmp_path, demo_model, path="more.jsonl", name="more", filters=more)
    assert [row["status"] for row in again if row["step"] == "more"] == ["rejected"]


@pytest.mark.parametrize(
    ("reference", "kept"),
    [("4", "4"), (0, "0"), (["assert f()", "assert g()"], "assert f()\nassert g()"), ({"type": "object"}, '{"type": "object"}'),
     (None, None), ([], None), ("\ud800", None)],
)  # fmt: skip
def test_what_verifiers_go_by(tmp_path: Path, demo_model: Path, reference: object, kept: str | None) -> None:
    row = {"prompt": "How many?", "completion": "Four.", "reference": reference}
    (tmp_path / "task.jsonl").write_text(json.dumps(row) + "\n")
    (imported,) = rows_of(tmp_path, demo_model, path="task.jsonl", reference="reference")
    assert json.loads(imported["metadata"]).get("reference") == kept
    assert imported["status"] == ("rejected" if kept is None else "accepted")
