"""How fast an API server is on this machine: `make bench`. A house guest on floor 7: knows the server only over the wire."""
