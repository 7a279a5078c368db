"""`python -m energaizer`: the command line."""

from energaizer.cli import run

if __name__ == "__main__":
    run()
