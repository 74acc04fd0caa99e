"""The Common Expression Language: text to programs, and what they may call. Knows of Kubernetes only its own libraries and types."""
