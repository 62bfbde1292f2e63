"""`sallyport completion bash | zsh | fish`: a script for the shell.

Wired into the command line by `cli/main`.
"""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the completion script of a shell: eval "$(sallyport completion bash)".

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from appliance.cli.main import COMMANDS, root_with

    print(root_with(*COMMANDS).generate_completion(shell=shell))
    return 0
