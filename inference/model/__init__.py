"""The model: the bundle, its cuts, the import of models into bundles, and the runtimes that compute them."""
