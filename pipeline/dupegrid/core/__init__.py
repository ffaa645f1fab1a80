"""What every folder stands on: errors, settings, kinds of arrays, text, and what computes."""
