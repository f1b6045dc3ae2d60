"""Machines that come with the work and go with it."""
