"""Figures of merit that compare the features of samples with those of real items."""
