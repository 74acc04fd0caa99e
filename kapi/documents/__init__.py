"""Documents about the server: discovery and OpenAPI, built from the catalogue, and its version."""
