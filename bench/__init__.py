"""What docs/performance.md and docs/quality.md quote; each module is one command, `python -m bench.<name>`."""
