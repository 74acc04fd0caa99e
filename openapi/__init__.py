"""The facts of v1.36, as tables generated from what is published: types, protobuf numbers, resources served."""
