"""A pod's volumes: from its spec to directories that its containers mount. `manager` is the face, a file per family beside it."""
