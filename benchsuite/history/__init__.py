"""asv's results and its site."""
