"""Finds out from outside whether a tree is warm: samples blocks, reads each twice, and compares."""
