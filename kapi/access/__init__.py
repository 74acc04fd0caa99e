"""Authentication, authorization, and the default roles of a cluster."""
