"""The ledger of a job, a record a file: put together from the pieces that a broker keeps, written and read as a file."""
