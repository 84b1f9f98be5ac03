"""The way of the data: from logs to a pushed model (TFX)."""
