"""A folder of Delta tables over Parquet, read with DuckDB."""

from forgetless.curator.store.store import Store

__all__ = ["Store"]
