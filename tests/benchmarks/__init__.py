"""What `make bench` measures: time beside the limit of the machine. Each runs once as a test, at small size."""
