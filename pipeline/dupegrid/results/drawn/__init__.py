"""What is drawn of a run: its page, in a notebook, plots."""
