"""``equivcheck completion``: the script by which a shell completes our command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> int:
    """Print the completion script of a shell.

    bash: eval "$(equivcheck completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; fish:
    equivcheck completion fish > ~/.config/fish/completions/equivcheck.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "click knows every shell that can be chosen"
    root = ctx.find_root()
    script = found(root.command, {}, "equivcheck", "_EQUIVCHECK_COMPLETE")
    click.echo(script.source())
    return 0
