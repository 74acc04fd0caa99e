"""The plugins of the default profile, a file for each family of them."""
