"""The write side: events, state and decisions, the log and its stores, secrets, and the service that appends."""
