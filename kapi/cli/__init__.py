"""The command line: what `kapi up`, `down` and the others do.

Components are started as processes of their own; this room only drives them.
"""
