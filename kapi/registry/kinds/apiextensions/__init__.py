"""CustomResourceDefinition (apiextensions.k8s.io): the definition, its schema, defaults and rules."""
