"""The exit codes of the commands: a contract with scripts and batch schedulers."""

WARM, ERROR, USAGE, INCOMPLETE, CANCELLED, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""All files are warm; an error; wrong usage; finished, but files could not be warmed; cancelled; interrupted."""
