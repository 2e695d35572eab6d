"""The loop that every backend trains through."""
