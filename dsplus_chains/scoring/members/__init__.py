"""The members of an ensemble, which are models that see the same texts differently."""
