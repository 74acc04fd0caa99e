"""Attacks on a real API server over TLS: what each costs in memory and in time of the event loop, and what others notice of it."""
