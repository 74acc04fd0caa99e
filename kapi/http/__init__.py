"""The socket side of HTTP: serving it on uvicorn's parser or in a few lines, asking others, handing connections over for upgrades.

Knows nothing of Kubernetes.
"""
