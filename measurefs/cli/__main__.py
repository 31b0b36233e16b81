"""``python -m measurefs.cli``."""

from measurefs.cli import main

if __name__ == "__main__":
    main(prog_name="measurefs")
