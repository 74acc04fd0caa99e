"""Who asks (authentication), may they (authorization), and what every cluster grants from the start."""
