"""The command line as `python -m drp`."""

from drp.cli import main

if __name__ == "__main__":
    main()
