"""Filters of texts: near-duplicates, contamination, language, and all of them by a recipe's settings."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetless.benchmarks.dedup import compare_dedup, jaccard, plant, shingles
from forgetless.curator.filters import Contaminated, Languages, NearDuplicates, TextJudge, content_digest
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.steps import Contamination, TextFilters

STORY = (
    "Long ago, Anna went to the harbour with her brother. There they found an old lamp under a tree, and they "
    "gave it to the baker. In the evening Anna walked home and felt happy. Her brother stayed behind to look "
    "for another one, but it was dark by then and nobody was there to help him."
)
LEMONADE = (
    "Mia sells lemonade for two coins a cup. She sells nine cups on Monday and twice as many on Tuesday."
)
SHORT = "What is the capital of Norway?"


def changed(text: str, *places: int) -> str:
    """`text` with the words at `places` replaced."""
    words = text.split()
    for place in places:
        words[place] = f"other{place}"
    return " ".join(words)


# Near-duplicates


def test_a_near_duplicate_is_refused_by_name_and_exact_similarity() -> None:
    near = NearDuplicates(0.7)
    assert near.judge(LEMONADE) is None
    assert near.judge(STORY) is None
    rejection = near.judge(changed(STORY, 20))
    assert rejection is not None
    assert (rejection.step, rejection.threshold) == ("near_duplicate", 0.7)
    assert rejection.score == jaccard(STORY, changed(STORY, 20)) > 0.7
    assert "Long ago, Anna went to the harbour" in rejection.reason


def test_a_text_below_the_threshold_is_kept_and_resembled_later() -> None:
    near = NearDuplicates(0.7, [STORY])
    other = changed(STORY, 5, 20, 40)
    assert jaccard(STORY, other) < 0.7
    assert near.judge(other) is None
    assert near.judge(changed(other, 0)) is not None


def test_the_reason_names_the_most_similar_text() -> None:
    far, close = changed(STORY, 0, 1), changed(STORY, 0)
    rejection = NearDuplicates(0.5, [far, close]).judge(STORY)
    assert rejection is not None and "other0 ago," in rejection.reason
    assert rejection.score == jaccard(STORY, close)


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ("Paris", "paris", True),
        ("Paris", "Oslo", False),
        ("What is 3 + 4?", "What is 3 - 4?", False),
        ("one two three four", "one two three", False),
        ("", " \n", True),
        ("Ｆｕｌｌ width", "full width", True),  # noqa: RUF001
        ("a \ud800 b", "a \ud800 b", True),
        (
            "今日は天気がいいので、友達と公園へ行きました。",
            "今日は天気がいいので、友達と公園へ行きます。",
            True,
        ),
        (
            "今日は天気がいいので、友達と公園へ行きました。",
            "昨日は雨が降ったので、家で本を読みました。",
            False,
        ),
    ],
)
def test_short_and_unspaced_texts(one: str, other: str, refused: bool) -> None:
    assert (NearDuplicates(0.6, [one]).judge(other) is not None) is refused


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85])
def test_it_refuses_what_comparing_all_pairs_refuses(threshold: float) -> None:
    texts, _ = plant(800)
    near = NearDuplicates(threshold)
    refused = {i for i, text in enumerate(texts) if near.judge(text)}
    least = threshold / (1 + threshold)  # shared / union >= threshold, as shared / (sum of sizes)
    kept: list[set[str]] = []
    expected = set()
    for i, grams in enumerate(map(set, map(shingles, texts))):
        if any(len(grams & other) >= least * (len(grams) + len(other)) for other in kept):
            expected.add(i)
        else:
            kept.append(grams)
    assert len(expected) >= 10
    assert refused <= expected
    assert len(refused) >= 0.99 * len(expected)


def test_seeding_from_texts_is_judging_without_verdicts() -> None:
    texts, _ = plant(2500)
    seeded = NearDuplicates(0.7, [*texts, *texts])
    rejections = [seeded.judge(text) for text in texts]
    assert all(rejection and rejection.score == 1 for rejection in rejections)


def test_every_process_refuses_the_same() -> None:
    script = (
        "from forgetless.benchmarks.dedup import plant\nfrom forgetless.curator.filters import NearDuplicates\n"
        "near = NearDuplicates(0.7)\nprint([near.judge(text) for text in plant(400)[0]])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and b"near_duplicate" in outputs.pop()


def test_the_filter_takes_at_most_three_times_its_librarys_time() -> None:
    compared = compare_dedup(10_000, rounds=3)
    assert compared.ratio <= 3, compared
    assert compared.planted > 300
    assert compared.found >= 0.99 * compared.planted
    assert compared.others == 0


# Contamination


def written(folder: Path, name: str, rows: list[dict[str, str]]) -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text("\n\n".join("\n".join(row.values()) for row in rows))
    return path


@pytest.mark.parametrize("name", ["e.jsonl", "e.json", "e.csv", "e.parquet", "e.txt"])
def test_texts_of_evaluation_files_are_refused(tmp_path: Path, name: str) -> None:
    rows = [{"question": "Where is it?", "answer": "There"}, {"question": LEMONADE, "answer": SHORT}]
    contaminated = Contaminated(Contamination(files=[written(tmp_path, name, rows)]))
    rejection = contaminated.judge(f"Please solve this. {LEMONADE.upper()} How many is that?")
    assert rejection is not None
    assert (rejection.step, rejection.threshold) == ("contamination", 0)
    assert rejection.score is not None and 0 < rejection.score < 1
    assert "'mia sells lemonade for two coins" in rejection.reason and name in rejection.reason
    whole = contaminated.judge(f" {SHORT.lower()}!")
    assert whole is not None and whole.score == 1
    assert contaminated.judge("There") is None
    assert contaminated.judge(STORY) is None


def test_share_is_of_the_texts_own_ngrams(tmp_path: Path) -> None:
    file = written(tmp_path, "e.jsonl", [{"question": "a b c d e f g h"}])
    text = "a b c d e f 1 2 3"  # 8 windows of two words, 5 of them shared
    rejection = Contaminated(Contamination(files=[file], ngram=2, max_share=0.6)).judge(text)
    assert rejection is not None and rejection.score == 5 / 8
    assert Contaminated(Contamination(files=[file], ngram=2, max_share=5 / 8)).judge(text) is None


def test_texts_inside_lists_count(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": LEMONADE}], "id": 3}))
    assert Contaminated(Contamination(files=[path])).judge(LEMONADE) is not None


def test_a_sentence_over_several_lines_of_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "e.txt"
    path.write_text("\n\n" + LEMONADE.replace(" ", "\n"))
    rejection = Contaminated(Contamination(files=[path])).judge(LEMONADE)
    assert rejection is not None and rejection.reason.endswith("e.txt:3")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.jsonl", b'{"question": "x"}\n{"ques', "e.jsonl:2 is not JSON"),
        ("e.json", b"{}", "not a JSON list"),
        ("e.csv", b"a,b\n", "holds no text"),
        ("e.jsonl", b'{"n": 3}', "holds no text"),
        ("e.txt", b"\xff\xfe", "not UTF-8"),
        ("e.parquet", b"no", "not readable Parquet"),
        ("e.pdf", b"%PDF", "unknown ending"),
    ],
)
def test_unusable_evaluation_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        Contaminated(Contamination(files=[path]))


def test_a_missing_evaluation_file(tmp_path: Path) -> None:
    settings = Contamination(files=[tmp_path / "gone.jsonl"])
    for use in (Contaminated, content_digest):
        with pytest.raises(RecipeError, match=r"gone\.jsonl' does not exist .*contamination\.files"):
            use(settings)


def test_the_digest_follows_the_contents_not_the_names(tmp_path: Path) -> None:
    one = written(tmp_path, "one.jsonl", [{"question": LEMONADE}])
    other = written(tmp_path, "other.jsonl", [{"question": STORY}])
    before = content_digest(Contamination(files=[one, other]))
    moved = one.rename(tmp_path / "moved.jsonl")
    assert content_digest(Contamination(files=[other, moved])) == before
    written(tmp_path, "other.jsonl", [{"question": SHORT}])
    assert content_digest(Contamination(files=[other, moved])) != before


def test_gsm8k(shared: Path) -> None:
    test, train = shared / "gsm8k" / "test_100.jsonl", shared / "gsm8k" / "train_1000.jsonl"
    contaminated = Contaminated(Contamination(files=[test]))
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    assert all(contaminated.judge(row["question"]) and contaminated.judge(row["answer"]) for row in rows)
    learned = [json.loads(line) for line in train.read_text().splitlines()]
    assert not [row for row in learned if contaminated.judge(f"{row['question']}\n{row['answer']}")]


# Language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (STORY, "en"),
        (LEMONADE, "en"),
        ("Die Katze sitzt auf der Matte.", "de"),
        ("Le chat est assis sur le tapis.", "fr"),
        ("El gato está sentado en la alfombra.", "es"),
        ("Która jest godzina?", "pl"),
        ("今何時ですか。", "ja"),
    ],
)
def test_a_confident_other_language_is_refused(text: str, language: str) -> None:
    assert Languages([language]).judge(text) is None
    rejection = Languages(["nl"]).judge(text)
    assert rejection is not None
    assert (rejection.step, rejection.threshold) == ("language", 0.5)
    assert rejection.score is not None and rejection.score < 0.5
    assert rejection.reason.startswith(f"is {language} ")
    assert Languages(["nl", language]).judge(text) is None


@pytest.mark.parametrize("text", ["", "42", "Paris", "yes", "#### 72", "def add(a, b): return a + b"])
def test_what_has_no_clear_language_passes(text: str) -> None:
    assert Languages(["ja"]).judge(text) is None


def test_gsm8k_is_english(shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "gsm8k" / "train_1000.jsonl").read_text().splitlines()]
    english, german = Languages(["en"]), Languages(["de"])
    assert not [row for row in rows if english.judge(row["question"]) or english.judge(row["answer"])]
    assert all(german.judge(row["question"]) for row in rows)


def test_an_unknown_language() -> None:
    with pytest.raises(RecipeError, match="language 'eng' is unknown → did you mean 'en'"):
        Languages(["eng"])


def test_the_missing_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['py3langid'] = None\n"
        "from forgetless.curator.filters import Languages\nLanguages(['en'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "RecipeError" in done.stderr and "pip install 'forgetless[language]'" in done.stderr


# All of them


def test_nothing_asked_is_nothing_read() -> None:
    def earlier() -> Iterable[str]:
        raise AssertionError("read for nothing")

    judge = TextJudge(TextFilters(), earlier)
    assert judge.judge(STORY) is None and judge.judge(STORY) is None
    judge = TextJudge(TextFilters(near_duplicate=0.8), earlier, distinct=False)
    assert judge.judge(STORY) is None and judge.judge(STORY) is None


def test_the_first_refusal_counts_and_refused_texts_are_no_earlier_ones(tmp_path: Path) -> None:
    file = written(tmp_path, "e.jsonl", [{"question": LEMONADE}])
    filters = TextFilters(near_duplicate=0.7, contamination=Contamination(files=[file]), languages=["en"])
    judge = TextJudge(filters, lambda: [STORY])
    german = "Am Morgen ging Anna in den Wald und fand dort einen roten Hut."
    steps = [
        rejection.step if (rejection := judge.judge(text)) else None
        for text in (LEMONADE, LEMONADE, german, german, STORY, SHORT, SHORT)
    ]
    assert steps == [
        "contamination", "contamination", "language", "language", "near_duplicate", None, "near_duplicate",
    ]  # fmt: skip
