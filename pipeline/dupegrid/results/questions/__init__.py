"""Questions of a run, answered from its tables: folders, sides, splits, known pairs."""
