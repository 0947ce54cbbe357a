"""`python -m benchsuite` is the command line."""

from benchsuite.cli import main

if __name__ == "__main__":  # child processes import this module too
    main()
