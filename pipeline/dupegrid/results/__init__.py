"""From matching pairs to clusters and a report."""
