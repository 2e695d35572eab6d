"""Models side by side: each trained for the same time with its defaults, sampled, judged, and put into one table."""
