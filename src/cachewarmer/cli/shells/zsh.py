"""The script for zsh: ``compinit`` can load it as a function, or it can be sourced afterwards."""

from __future__ import annotations

from cachewarmer.cli.shells.grammar import PROGRAM_OPTIONS, Kind, Option, Value, Words

HEAD = """\
#compdef cachewarmer
# Completion of cachewarmer for zsh, made by "cachewarmer completion zsh".

_cachewarmer_jobs() {
  local -a jobs broker
  local line at
  for ((at = 2; at < CURRENT; at++)); do
    case $words[at] in
      --broker) broker=(--broker ${(Q)words[at + 1]}) ;;
      --broker=*) broker=(--broker ${(Q)words[at]#*=}) ;;
    esac
  done
  for line in ${(f)"$(_call_program jobs ${(q)cachewarmer} completion jobs ${(q)broker} 2>/dev/null)"}; do
    jobs+=("${line/$'\\t'/:}")
  done
  _describe -t jobs job jobs
}

_cachewarmer() {
  local context state state_descr line cachewarmer=${(Q)words[1]}
  typeset -A opt_args
"""

TAIL = """\
}

if [ "$funcstack[1]" = "_cachewarmer" ]; then
  _cachewarmer "$@"
else
  compdef _cachewarmer cachewarmer
fi
"""
ACTIONS = {
    Kind.TEXT: " ",
    Kind.FILE: "_files",
    Kind.PROGRAM: "_command_names -e",
    Kind.JOB: "_cachewarmer_jobs",
}
"""The action that completes a kind of value. A space means that a value is expected, but nothing is suggested."""


def script(commands: list[Words]) -> str:
    """The whole script."""
    lines = ["  _arguments -C \\"]
    for short, long, text in PROGRAM_OPTIONS:
        both = f"{{{short},{long}}}" if short else long
        lines.append(f"    '(- *)'{both}{quoted(f'[{text}]')} \\")
    lines += ["    '1:command:->command' \\", "    '*::argument:->argument'", "  case $state in", "    command)"]
    lines += ["      local -a commands=("]
    lines += [f"        {quoted(f'{one.name}:{one.summary}')}" for one in commands]
    lines += ["      )", "      _describe -t commands command commands", "      ;;", "    argument)"]
    lines += ["      case $words[1] in"]
    for one in commands:
        specs = [_option(option) for option in one.options] + _operands(one)
        lines += [f"        {one.name})", "          _arguments -s -S : \\"]
        lines += [f"            {spec} \\" for spec in specs[:-1]] + [f"            {specs[-1]}", "          ;;"]
    return HEAD + "\n".join([*lines, "      esac", "      ;;", "  esac", TAIL])


def quoted(text: str) -> str:
    """The text quoted as one word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    for char in "\\[]:":
        text = text.replace(char, f"\\{char}")
    return text


def _option(option: Option) -> str:
    """An option as ``_arguments`` expects it: the options that it excludes, its names, its description, its value."""
    value = _value(option.value) if option.value else ""
    exclude = "*" if option.repeated else f"({' '.join(option.names)})"
    if option.names[-1] == "--help":
        exclude = "(- *)"
    after = "=" if option.value else ""
    if option.value and option.value.optional:
        after, value = "", f":{value}"
    described = quoted(f"[{_escaped(option.brief)}]{value}")
    if len(option.names) == 1:
        return f"{quoted(exclude)}{option.names[0]}{after}{described}"
    return f"{quoted(exclude)}{{{','.join(name + after for name in option.names)}}}{described}"


def _value(value: Value) -> str:
    action = f"({' '.join(value.choices)})" if value.choices else ACTIONS[value.kind]
    return f":{_escaped(value.label)}:{action}"


def _operands(words: Words) -> list[str]:
    return [quoted(f"{'*' if one.repeated else ':' if one.optional else ''}{_value(one)}") for one in words.operands]
