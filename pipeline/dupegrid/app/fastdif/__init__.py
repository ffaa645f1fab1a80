"""The calls of fast-diff-py, on the pipeline here."""
