"""Everything on one machine: the embedded servers, the packaged model and the supervisor behind `make run`."""
