"""``python -m zoo_cli``: the program ``zoo``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the current folder first, before all that is installed: what lies in it, as a
    # checkpoint's files, would run in the place of zoo's own modules. The program zoo has no such
    # path.
    if not sys.flags.safe_path and sys.path[:1] == [str(Path.cwd())]:
        del sys.path[0]
    try:
        from zoo_cli.main import program
    except KeyboardInterrupt:  # as `zoo.finetune` starts it, whoever did says so
        sys.exit(130)

    program()
