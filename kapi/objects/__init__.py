"""Pure functions on JSON objects, used in all rooms: resources, errors, labels, names, quantities, time."""
