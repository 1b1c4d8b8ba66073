"""`python -m knts.cli`."""

from knts.cli.main import cli

if __name__ == "__main__":
    cli(prog_name="knts")
