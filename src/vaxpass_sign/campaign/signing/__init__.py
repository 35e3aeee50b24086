"""Signing a campaign: the coordinator, its workers, what is shown before."""
