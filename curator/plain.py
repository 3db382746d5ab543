"""Values of any query as what JSON can hold."""

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

WIDEST = 2**53 - 1
"""The largest integer that every reader of JSON keeps: many read numbers as doubles."""


def plain(value: Any, wide: bool = True) -> Any:
    """`value` as JSON knows it: no NaN or infinity (null), bytes as hex, times as ISO 8601.

    Args:
        wide: whether integers above `WIDEST` may stay numbers; else they become text.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):  # DuckDB's sums of integers are 128 bits wide
        if not value.is_finite():
            return None
        return plain(int(value), wide) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(inner, wide) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, wide) for inner in value]
    if isinstance(value, int) and not wide and abs(value) > WIDEST:
        return str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
