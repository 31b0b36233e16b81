"""Columns to bytes and back: numbers (pcodec), dictionaries and bytes (zstandard), checksums, sealed JSON."""
