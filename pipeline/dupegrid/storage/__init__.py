"""The run directory: what is ours in it, who writes there, its tables and arrays."""
