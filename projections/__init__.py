"""The read side: what the log is folded into, and the one loop that replays and tails it."""
