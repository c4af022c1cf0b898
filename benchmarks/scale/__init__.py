"""What a chunk, a join and an open request cost, and how that grows."""
