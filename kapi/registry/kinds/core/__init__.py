"""Kinds of the core group (v1); pods have a folder of their own."""
