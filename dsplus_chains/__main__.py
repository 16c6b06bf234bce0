"""`python -m dsplus_chains` is the `dsplus` command."""

from dsplus_chains.cli import app

app(prog_name="dsplus")
