"""The ids in the store that the command line's tests look at."""

IDS = {
    "story": "aa01" * 8,
    "chat": "aa02" * 8,
    "unscored": "bb01" * 8,
    "imported": "cc01" * 8,
    "rejected": "dd01" * 8,
}
"""Name → id of the store's rows; `story` and `chat` begin alike."""
