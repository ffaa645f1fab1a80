"""From files on disk to thumbnails and one row per file."""
