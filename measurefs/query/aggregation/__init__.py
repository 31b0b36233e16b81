"""Aggregates: what is asked for, partial results of runs of rows and of summaries, and how they come together."""
