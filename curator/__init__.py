"""The engine room: engines, chat templates, scoring, filters, verifiers and the store."""
