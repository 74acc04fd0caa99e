"""Admission: plugins that complete, or refuse, what is about to be written. `chain` is the list of them; the registry asks it."""
