"""Pure functions on JSON objects, and the words everybody uses: resources, errors, labels, names, quantities, time."""
