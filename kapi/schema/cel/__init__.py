"""The Common Expression Language, as far as the API needs it."""
