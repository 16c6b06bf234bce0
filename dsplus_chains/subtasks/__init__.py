"""Tasks made of subtasks: easy ones to small models, hard ones to the large model."""
