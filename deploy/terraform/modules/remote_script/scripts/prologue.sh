# Begins each script. give NAME VALUE: sets a variable of the environment; what is empty is not set.
set -eu
give() { if [ -n "$2" ]; then export "$1=$2"; else unset "$1"; fi; }
