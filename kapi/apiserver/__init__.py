"""One API server put together and kept going. `assembly` is where it begins: `serving` is all of it as a context."""
