"""The exit codes of the commands: a contract with scripts and batch schedulers."""

WARM, ERROR, USAGE, INCOMPLETE, CANCELLED, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""All warm; an error; wrong usage; finished with files that could not be warmed; cancelled; interrupted."""
