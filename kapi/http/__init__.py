"""The socket side of HTTP: serving it on uvicorn's parser, and handing connections over for upgrades. Knows nothing of Kubernetes."""
