"""Tables from files, for the `dsplus` command: `read.read_table`, `write.write_table`, and the `Table` between."""
