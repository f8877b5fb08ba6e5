"""The command line as a module: ``python -m emoscope``."""

from emoscope.cli import main

if __name__ == "__main__":
    main()
