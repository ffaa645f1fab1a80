"""The command `dupegrid`: its verbs, their flags, what they print."""
