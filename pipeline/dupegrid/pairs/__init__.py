"""From thumbnails to the pairs that match."""
