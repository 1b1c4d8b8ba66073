"""What the functions of kn-ts share, and the tools around them."""

__version__ = "0.1.0"
