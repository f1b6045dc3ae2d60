"""Measures from outside how much of a tree is warm: samples blocks, reads each twice, and compares."""
