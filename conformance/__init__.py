"""Does a cluster behave like Kubernetes? What is here asks any API server, ours or a stock one, over the wire."""
