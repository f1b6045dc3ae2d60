"""Checks a target or a broker without changing anything."""
