"""``python -m zoo_cli``: the program ``zoo``."""

from zoo_cli.main import main

main()
