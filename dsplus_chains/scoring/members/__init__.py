"""The members of an ensemble: models that see the same texts differently."""
