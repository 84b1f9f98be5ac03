"""How good a ranking is, for whom, and whether it may be pushed."""
