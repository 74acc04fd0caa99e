"""Types: what an object may hold, how it is read, patched, applied. Built-in types and those of CustomResourceDefinitions alike."""
