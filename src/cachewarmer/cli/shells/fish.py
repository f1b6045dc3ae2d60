"""The script for fish."""

from __future__ import annotations

from collections.abc import Iterator

from cachewarmer.cli.shells.grammar import PROGRAM_OPTIONS, Kind, Option, Value, Words

HEAD = """\
# Completion of cachewarmer for fish, made by "cachewarmer completion fish".

function __cachewarmer_is --description 'Whether the command is this one; without argument, whether there is none yet'
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

function __cachewarmer_jobs --description 'Jobs that the broker knows'
    set -l words (commandline -opc)
    set -l broker
    for at in (seq (count $words))
        switch $words[$at]
            case --broker
                set broker --broker $words[(math $at + 1)]
            case '--broker=*'
                set broker --broker (string replace -- --broker= '' $words[$at])
        end
    end
    $words[1] completion jobs $broker 2>/dev/null
end

complete -c cachewarmer -f
"""

NO_TEXT = '\\t""'
"""Follows a candidate that has no description."""


def script(commands: list[Words]) -> str:
    """The whole script."""
    lines = []
    for short, long, text in PROGRAM_OPTIONS:
        names = f"-s {short[1:]} -l {long[2:]}" if short else f"-l {long[2:]}"
        lines.append(f"complete -c cachewarmer -n '__cachewarmer_is' {names} -d {quoted(text)}")
    for one in commands:
        lines.append(f"complete -c cachewarmer -n '__cachewarmer_is' -a {one.name} -d {quoted(one.summary)}")
    for one in commands:
        lines += _command(one)
    return HEAD + "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """The text quoted as one word of the shell."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _command(words: Words) -> Iterator[str]:
    start = f"complete -c cachewarmer -n '__cachewarmer_is {words.name}'"
    for option in words.options:
        yield f"{start} {' '.join(map(_name, option.names))} -d {quoted(option.brief)}{_takes(option)}"
    for value in words.operands[:1]:
        if value.kind is not Kind.TEXT:
            yield start + _value(value)


def _name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _takes(option: Option) -> str:
    if option.value is None:
        return ""
    required = "" if option.value.optional else " -r"
    return required + _value(option.value)


def _value(value: Value) -> str:
    if value.choices:
        # Each has its own empty description, because fish would else show the option's description next to all of them.
        return f" -f -a {quoted(' '.join(f'{choice}{NO_TEXT}' for choice in value.choices))}"
    return {
        Kind.FILE: " -F",
        Kind.PROGRAM: " -a '(__fish_complete_command)'",
        Kind.JOB: " -k -a '(__cachewarmer_jobs)'",
    }.get(value.kind, " -f")
