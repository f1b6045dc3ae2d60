"""The script for bash. It needs bash 4.4 or newer, but not the package bash-completion."""

from __future__ import annotations

from collections.abc import Iterable

from cachewarmer.cli.shells.grammar import PROGRAM_OPTIONS, Kind, Value, Words

HEAD = """\
# Completion of cachewarmer for bash, made by "cachewarmer completion bash".

_cachewarmer_jobs() {
  # Only what the program prints is compared: bash would expand words that it is given as a list.
  local job rest at broker=()
  for ((at = 2; at < COMP_CWORD; at++)); do
    [[ ${COMP_WORDS[at]} == --broker ]] && broker=(--broker "${COMP_LINE#*--broker[= ]}")
  done
  [[ ${#broker[@]} = 0 ]] || broker[1]=${broker[1]%% *}
  while IFS=$'\\t' read -r job rest; do
    [[ $job == "$1"* ]] && COMPREPLY+=("$job")
  done < <("${COMP_WORDS[0]}" completion jobs "${broker[@]}" 2>/dev/null)
}

_cachewarmer() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} kind='' words=''
  COMPREPLY=()
  # --option=value comes as three words, for = separates them.
  if [[ $word == '=' ]]; then
    word=''
  elif [[ $before == '=' ]]; then
    before=${COMP_WORDS[COMP_CWORD - 2]}
  fi
"""

TAIL = """\
  case $kind in
    file)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
    program) mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
    job) _cachewarmer_jobs "$word" ;;
    choice) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word") ;;
  esac
}
complete -F _cachewarmer cachewarmer
"""


def script(commands: list[Words]) -> str:
    """The whole script."""
    lines = ["  if ((COMP_CWORD == 1)); then", f"    kind='choice' words='{' '.join(_first(commands))}'", "  else"]
    lines.append("    case ${COMP_WORDS[1]} in")
    for one in commands:
        lines += [f"      {one.name})", "        case $before in", *_values(one), "        esac"]
        names = " ".join(name for option in one.options for name in option.names)
        lines += [f"        [[ -n $kind || $word != -* ]] || kind='choice' words='{names}'"]
        operand = one.operands[0] if one.operands else None
        if operand and operand.kind is not Kind.TEXT:
            lines.append(f"        [[ -n $kind ]] || {_set(operand)}")
        lines.append("        ;;")
    return HEAD + "\n".join([*lines, "    esac", "  fi", TAIL])


def _first(commands: Iterable[Words]) -> list[str]:
    return [name for *names, _ in PROGRAM_OPTIONS for name in names if name] + [one.name for one in commands]


def _values(words: Words) -> list[str]:
    """Shell code with a case for each kind of value that options take."""
    groups: dict[str, list[str]] = {}
    for option in words.options:
        if option.value and not option.value.optional:
            groups.setdefault(_set(option.value), []).extend(option.names)
        elif option.value:
            groups.setdefault(f"[[ $word == -* ]] || {_set(option.value)}", []).extend(option.names)
    return [f"          {' | '.join(names)}) {what} ;;" for what, names in groups.items()]


def _set(value: Value) -> str:
    words = f" words='{' '.join(value.choices)}'" if value.choices else ""
    return f"kind='{value.kind}'{words}"
