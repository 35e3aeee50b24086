"""Dose tables in: reading, the rules of a row."""
