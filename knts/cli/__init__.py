"""The command line `knts`: load, search, ask, watch, trace; a client of the HTTP API like any other."""
