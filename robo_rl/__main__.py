"""The console command: the command line, or which extra it needs."""

import sys

from robo_rl import extras
from robo_rl.verdicts import Exit


def main() -> None:
    """Run the command line; where a package is missing, say which extra brings it."""
    try:
        from robo_rl.cli import main as run

        run()
    except ModuleNotFoundError as error:
        said = extras.help_for(error)
        if said is None:
            raise
        sys.exit(_refused(said))


def _refused(said: str) -> Exit:
    print(f"error: {said}", file=sys.stderr)
    return Exit.USAGE


if __name__ == "__main__":
    main()
