"""Shell completion of the `repedge` command, made from its parser: verbs, options, choices, and names of boards and models."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.machines import MACHINES
from deploy.targets import target_names
from train.zoo import load_index

BASH = """\
# repedge completion: source this file, or  eval "$(repedge completion bash)"
_repedge() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" verb="${{COMP_WORDS[1]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
        return
    fi
    case "$verb ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
    esac
    case "$verb" in
{words}
    esac
}}
complete -o default -F _repedge repedge
"""
# zsh runs the bash script; a shell whose start file has not set completion up is set up here
ZSH = """\
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
autoload -Uz bashcompinit && bashcompinit
{bash}"""
FISH = """\
# repedge completion: save it as ~/.config/fish/completions/repedge.fish, or  repedge completion fish | source
{lines}
"""


@dataclass(frozen=True)
class Option:
    """A flag of a verb; `values` are the words it takes, empty where it takes none or any."""

    flag: str
    text: str
    takes_value: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """What may follow a verb: `words` are those allowed as positional arguments, `words_after` those after one of them."""

    name: str
    text: str
    options: tuple[Option, ...]
    words: tuple[str, ...]
    words_after: tuple[tuple[str, tuple[str, ...]], ...] = ()


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    verbs = [_verb(name, sub, text) for name, sub, text in _subparsers(parser)]
    if shell == "fish":
        return FISH.format(lines="\n".join(line for verb in verbs for line in _fish(verb)))
    bash = _bash(verbs)
    return ZSH.format(bash=bash) if shell == "zsh" else bash


def _verb(name: str, parser: argparse.ArgumentParser, text: str) -> Verb:
    inner = _subparsers(parser)
    options = [*_options(parser), *(option for _, sub, _ in inner for option in _options(sub))]
    by_flag = {option.flag: option for option in options}
    after: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if name == "zoo":
        after = (("get", tuple(model.name for model in load_index().models)),)
    return Verb(name, text, tuple(by_flag.values()), _positional(name, parser), after)


def _positional(name: str, parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """Words for the arguments without a flag; empty where they are files."""
    if name == "targets":
        return tuple(target_names())
    found = [action.choices for action in parser._actions if not action.option_strings and action.choices]
    return tuple(str(word) for choices in found for word in choices)


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    names = {
        "--core": tuple(name.removeprefix("cortex-") for name in MACHINES),
        "--target": tuple(target_names()),
        "--board": tuple(target_names()),
    }
    for action in parser._actions:
        for flag in (flag for flag in action.option_strings if flag.startswith("--")):
            values = names.get(flag) or tuple(map(str, action.choices or ()))
            text = (action.help or "").replace("%%", "%")
            yield Option(flag, text, action.nargs != 0, values)


def _subparsers(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser, str]]:
    """(name, parser, help) of each verb below a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return [(name, sub, texts.get(name, "")) for name, sub in action.choices.items()]
    return []


def _bash(verbs: list[Verb]) -> str:
    values = [
        f'        "{verb.name} {option.flag}") {_reply(option.values)}; return ;;'
        for verb in verbs
        for option in verb.options
        if option.values
    ]
    values += [
        f'        "{verb.name} {word}") {_reply(after)}; return ;;'
        for verb in verbs
        for word, after in verb.words_after
    ]
    words = [
        f"        {verb.name}) {_reply((*verb.words, *(option.flag for option in verb.options)))} ;;" for verb in verbs
    ]
    return BASH.format(verbs=" ".join(verb.name for verb in verbs), values="\n".join(values), words="\n".join(words))


def _reply(words: tuple[str, ...]) -> str:
    return f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word"))'


def _fish(verb: Verb) -> Iterator[str]:
    yield f"complete -c repedge -n __fish_use_subcommand -f -a {verb.name} -d {_quoted(verb.text)}"
    within = f"__fish_seen_subcommand_from {verb.name}"
    for option in verb.options:
        value = f" -x -a {_quoted(' '.join(option.values))}" if option.values else " -r" if option.takes_value else ""
        yield f"complete -c repedge -n {_quoted(within)} -l {option.flag[2:]}{value} -d {_quoted(option.text)}"
    if verb.words:
        condition = f"{within}; and not __fish_seen_subcommand_from {' '.join(verb.words)}"
        yield f"complete -c repedge -n {_quoted(condition)} -f -a {_quoted(' '.join(verb.words))}"
    for word, after in verb.words_after:
        condition = f"{within}; and __fish_seen_subcommand_from {word}"
        yield f"complete -c repedge -n {_quoted(condition)} -f -a {_quoted(' '.join(after))}"


def _quoted(text: str) -> str:
    """Text for fish, where only a backslash and the quote itself mean anything inside single quotes.

    >>> print(_quoted("a run's folder"))
    'a run\\'s folder'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
