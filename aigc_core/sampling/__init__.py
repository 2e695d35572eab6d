"""Requests, blocks, and files that a person opens."""
