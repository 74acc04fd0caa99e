"""Tests mirror the tree: tests/storage/test_store.py is about kapi/storage/store.py."""
