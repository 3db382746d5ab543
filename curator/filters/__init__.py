"""What a text must pass to become part of a record."""

from forgetless.curator.filters.contamination import Contaminated, content_digest
from forgetless.curator.filters.duplicates import Duplicates
from forgetless.curator.filters.language import Languages
from forgetless.curator.filters.near_duplicates import NearDuplicates
from forgetless.curator.filters.text import TextJudge
from forgetless.curator.filters.turn import Turn, judge, repetition

__all__ = [
    "Contaminated", "Duplicates", "Languages", "NearDuplicates", "TextJudge", "Turn", "content_digest",
    "judge", "repetition",
]  # fmt: skip
