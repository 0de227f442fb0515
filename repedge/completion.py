"""Shell completion of the `repedge` command, made from its parser: verbs, options, choices, and names of targets."""

from __future__ import annotations

import argparse

from deploy.machines import MACHINES
from deploy.targets import target_names

BASH = """\
# repedge completion: source this file, or  eval "$(repedge completion bash)"
_repedge() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    case "$before" in
{values}
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{options}
    esac
}}
complete -o default -F _repedge repedge
"""


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for `bash`, or for `zsh`, which runs the same one."""
    verbs = _verbs(parser)
    values: dict[str, str] = {}
    for verb in verbs.values():
        for action in verb._actions:
            for flag in action.option_strings:
                if action.choices:
                    values[flag] = " ".join(map(str, action.choices))
    values["--core"] = " ".join(name.removeprefix("cortex-") for name in MACHINES)
    values["--target"] = values["--board"] = " ".join(target_names())
    script = BASH.format(
        verbs=" ".join(verbs),
        values="\n".join(f"        {flag}) {_reply(words)}; return ;;" for flag, words in sorted(values.items())),
        options="\n".join(f"        {name}) {_reply(_flags(verb))} ;;" for name, verb in verbs.items()),
    )
    return f"autoload -Uz bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script


def _reply(words: str) -> str:
    return f'COMPREPLY=($(compgen -W "{words}" -- "$word"))'


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    action = next(item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def _flags(verb: argparse.ArgumentParser) -> str:
    return " ".join(flag for action in verb._actions for flag in action.option_strings if flag.startswith("--"))
