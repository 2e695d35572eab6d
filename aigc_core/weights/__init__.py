"""Weights: one trained generator, as one self-describing file, kept under a name and a number."""
