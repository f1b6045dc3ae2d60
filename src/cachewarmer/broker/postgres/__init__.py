"""The broker in a PostgreSQL database: any number of machines, any job chosen, one transaction a settlement."""
