"""`python -m energaizer`: the command line."""

from energaizer.cli import main

if __name__ == "__main__":
    main()
