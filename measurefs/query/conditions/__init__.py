"""Conditions on rows: how they are given, what they say of series and chunks, and which rows fulfil them."""
