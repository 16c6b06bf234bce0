"""The gate: who answers, the small model or the large one."""
