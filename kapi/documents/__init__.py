"""What the server says of itself: the documents of discovery and OpenAPI, made from the catalogue; and its version."""
