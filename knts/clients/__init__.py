"""The only code of the functions that talks to Redis, Typesense, Ollama and the Broker.

Each module speaks the project's words and turns its library's failures into `knts.errors`, `from` the original.
"""
