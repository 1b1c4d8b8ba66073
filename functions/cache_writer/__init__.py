"""cache-writer: remembers finished answers and forgets those whose documents changed."""
