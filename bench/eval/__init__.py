"""`python -m bench.eval`: how good what comes back is. Each part prints tables; docs/quality.md explains them."""
