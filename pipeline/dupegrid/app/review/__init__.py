"""The review of a run, in a browser and in a notebook."""
