"""The profile: measured costs of a bundle on this machine, of a tail and of the link between them."""
