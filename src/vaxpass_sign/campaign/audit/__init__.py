"""Auditing a campaign: its books, its credentials, what was found."""
